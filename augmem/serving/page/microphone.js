"use strict";
// Passes the samples of the microphone to the page.
registerProcessor("microphone", class extends AudioWorkletProcessor {
  process(inputs) {
    if (inputs[0][0]) this.port.postMessage(inputs[0][0].slice());
    return true;
  }
});
