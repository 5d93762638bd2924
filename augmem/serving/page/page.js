"use strict";
const RATE = 16000;
const at = id => document.getElementById(id);
let socket = null, stopRecording = null, sent = 0, ended = 0, finals = [], segments = [];

function open() {
  if (socket) socket.close();
  return new Promise((resolve, reject) => {
    const address = location.protocol.replace("http", "ws") + "//" + location.host + location.pathname + location.search;
    socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { socket.send(JSON.stringify({sample_rate: RATE, format: "int16"})); resolve(); };
    socket.onerror = () => reject(new Error("The server cannot be reached, is full, or requires a token (?token=...)."));
    const own = socket;
    socket.onmessage = message => { if (socket === own) show(JSON.parse(message.data)); };
    socket.onclose = () => { if (socket === own && !at("results").dataset.done && !at("error").textContent) fail("The connection was lost."); };
    sent = 0; ended = 0; finals = []; keep([]);
    delete at("results").dataset.done; at("results").replaceChildren(); at("error").textContent = ""; at("final").textContent = "–"; at("delay").textContent = "–";
  });
}

function spans(event) {
  return event.words.map((word, place) => {
    const span = document.createElement("span");
    span.textContent = word.text.toLowerCase() + " ";
    if (event.kind === "final") {
      span.style.opacity = 0.35 + 0.65 * word.confidence;
      span.title = `${Math.round(100 * word.confidence)} % confidence, ${word.start.toFixed(2)} to ${word.end.toFixed(2)} s`;
    } else {
      span.className = place < event.stable ? "partial stable" : "partial";
    }
    return span;
  });
}

function show(event) {
  if (event.error) { fail(event.error); return; }
  if (event.done) {
    if (ended) at("final").textContent = ((performance.now() - ended) / 1000).toFixed(2) + " s";
    if (stopRecording) stopRecording();  // a server that shuts down ends a running recording
    at("results").dataset.done = "yes"; at("state").textContent = "Done";
    return;
  }
  if (event.kind === "final") { finals.push(...spans(event)); keep([...segments, event]); }
  const partial = event.kind === "partial" ? spans(event) : [];
  at("results").replaceChildren(...finals, ...partial);
  at("delay").textContent = Math.max(0, sent - event.end).toFixed(2) + " s";
}

// Sets the segments that can be downloaded: final results with words.
function keep(events) {
  segments = events.filter(event => event.words.length);
  document.querySelectorAll("#downloads button").forEach(button => { button.disabled = !segments.length; });
}

function time(seconds, sign) {
  const part = (unit, size) => String(Math.floor(Math.round(seconds * 1000) / unit) % size);
  return [part(3600000, 1e6), part(60000, 60), part(1000, 60)].map(text => text.padStart(2, "0")).join(":") + sign + part(1, 1000).padStart(3, "0");
}

function transcript(format) {
  const texts = segments.map(event => event.words.map(word => word.text.toLowerCase()).join(" "));
  if (format === "txt") return texts.join("\n") + "\n";
  const sign = format === "srt" ? "," : ".";
  const lines = segments.map((event, place) => {
    const begin = time(event.words[0].start, sign), end = time(event.words[event.words.length - 1].end, sign);
    return (format === "srt" ? `${place + 1}\n` : "") + `${begin} --> ${end}\n${texts[place]}\n\n`;
  });
  return (format === "vtt" ? "WEBVTT\n\n" : "") + lines.join("");
}

function download(format) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([transcript(format)], {type: "text/plain"}));
  link.download = "transcript." + format;
  link.click();
  URL.revokeObjectURL(link.href);
}

// Shows the level of samples: 0 at -60 dB or less, 1 at full scale.
function showLevel(samples) {
  const power = samples.reduce((sum, value) => sum + value * value, 0) / Math.max(1, samples.length);
  at("level").value = Math.max(0, 1 + Math.log10(power + 1e-12) / 6);
}

function send(samples) {
  showLevel(samples);
  if (!socket || socket.readyState !== WebSocket.OPEN) return;
  const packet = new Int16Array(samples.length);
  for (let n = 0; n < samples.length; n++) packet[n] = Math.max(-1, Math.min(1, samples[n])) * 32767;
  socket.send(packet);
  sent += samples.length / RATE;
  at("sent").textContent = sent.toFixed(1) + " s";
}

function end() {
  at("level").value = 0;
  if (socket && socket.readyState === WebSocket.OPEN) { ended = performance.now(); at("state").textContent = "Waiting for the last results"; socket.send(JSON.stringify({end: true})); }
}

function fail(reason) { at("level").value = 0; at("error").textContent = reason; at("state").textContent = ""; if (stopRecording) stopRecording(); }

async function record() {
  if (!navigator.mediaDevices) throw new Error("Browsers allow microphones only on https:// pages and on localhost: start the server with --certificate and --key.");
  const microphone = await navigator.mediaDevices.getUserMedia({audio: {channelCount: 1, echoCancellation: false}});
  const context = new AudioContext({sampleRate: RATE});
  const release = () => { microphone.getTracks().forEach(track => track.stop()); context.close(); };
  try {
    await context.audioWorklet.addModule("microphone.js");
    await open();
  } catch (error) { release(); throw error; }
  const tap = new AudioWorkletNode(context, "microphone");
  let waiting = [];
  tap.port.onmessage = message => {
    waiting.push(...message.data);
    if (waiting.length >= RATE / 10) { send(waiting); waiting = []; }
  };
  context.createMediaStreamSource(microphone).connect(tap);
  at("state").textContent = "Listening";
  at("record").textContent = "Stop"; at("record").classList.add("on"); at("record").setAttribute("aria-pressed", "true");
  stopRecording = () => {
    stopRecording = null;
    release();
    if (waiting.length) send(waiting);
    end();
    at("record").textContent = "Record"; at("record").classList.remove("on"); at("record").setAttribute("aria-pressed", "false");
  };
}

async function play(file) {
  if (stopRecording) stopRecording();
  const context = new OfflineAudioContext(1, 1, RATE);
  const sound = await context.decodeAudioData(await file.arrayBuffer()).catch(() => { throw new Error(file.name + ": the browser cannot decode this file as audio."); });
  const samples = sound.getChannelData(0);
  await open();
  const own = socket;
  at("state").textContent = "Sending " + file.name;
  for (let begin = 0; begin < samples.length; begin += RATE / 5) {
    while (own.readyState === WebSocket.OPEN && own.bufferedAmount > RATE * 4) await new Promise(resolve => setTimeout(resolve, 50));
    if (socket !== own || own.readyState !== WebSocket.OPEN) return;  // closed, or replaced by another recording or file
    send(samples.subarray(begin, begin + RATE / 5));
  }
  end();
}

at("record").onclick = async () => {
  if (stopRecording) return stopRecording();
  at("record").disabled = true;  // while the browser asks for permission
  await record().catch(error => fail(error.message));
  at("record").disabled = false;
};
document.querySelectorAll("#downloads button").forEach(button => { button.onclick = () => download(button.dataset.format); });
document.onkeydown = event => {
  if (event.key.toLowerCase() !== "r" || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (!at("record").disabled) at("record").click();
};
at("file").onchange = event => play(event.target.files[0]).catch(error => fail(error.message));
at("drop").ondragover = event => { event.preventDefault(); at("drop").classList.add("over"); };
at("drop").ondragleave = () => at("drop").classList.remove("over");
at("drop").ondrop = event => {
  event.preventDefault(); at("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) play(event.dataTransfer.files[0]).catch(error => fail(error.message));
};
