"""Clients of Vosk's websocket protocol, which expect one answer to each message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedOK

from augmem.serving import RecognitionServer
from augmem.serving.vosk import Answers
from tests.serving.clients import error_of, packets, run_server, transcribe
from tests.tiny import RATE, noise

CONFIG = json.dumps({"config": {"sample_rate": float(RATE)}})
SAMPLES = [(noise(seconds, seed) * 32767).astype(np.int16) for seed, seconds in enumerate((2.9, 1.6))]


async def ask(connection: ClientConnection, message: str | bytes) -> dict[str, Any]:
    await connection.send(message)
    return dict(json.loads(await connection.recv()))


async def converse(connection: ClientConnection, samples: np.ndarray, command: str) -> list[dict[str, Any]]:
    """Return the answers to packets of 0.1 s and to a command."""
    answers = [await ask(connection, packet.tobytes()) for packet in packets(samples)]
    return [*answers, await ask(connection, command)]


def test_each_message_has_one_answer_and_words_are_those_of_other_clients(package: Path) -> None:
    async def visit(server: RecognitionServer, address: str) -> None:
        expected = [await transcribe(address, samples) for samples in SAMPLES]
        async with connect(address) as connection:
            await connection.send(CONFIG)
            for samples, command, text in zip(SAMPLES, ['{"reset" : 1}', '{"eof" : 1}'], expected, strict=True):
                *partial, final = await converse(connection, samples, command)
                assert all(list(answer) == ["partial"] for answer in partial)
                assert partial[0]["partial"] == "" != partial[-1]["partial"]
                assert final["text"] == text == " ".join(word["word"] for word in final["result"])
                times = [word[name] for word in final["result"] for name in ("start", "end")]
                assert times == sorted(times) and times[-1] <= len(samples) / RATE
                assert all(0 <= word["conf"] <= 1 for word in final["result"])
            with pytest.raises(ConnectionClosedOK):
                await connection.recv()
        assert "must be a whole number" in await error_of(address, '{"config": {"sample_rate": "fast"}}')
        assert "this server has no phrase_list" in await error_of(address, '{"config": {"phrase_list": ["one"]}}')
        assert "must be an object" in await error_of(address, '{"config": 8000}')
        assert 'expected audio, {"eof": 1}' in await error_of(address, CONFIG, "what")
        assert "not a whole number of int16" in await error_of(address, CONFIG, b"abc")
        assert "format WAV" in await error_of(address, CONFIG, b"RIFF....WAVE")

    run_server(package, visit)


def test_segments_that_end_are_answers_in_turn_and_none_is_lost() -> None:
    answers = Answers(words=True)
    for text in ("ONE", "", "TWO", "ONE TWO"):
        words = [{"text": word, "start": 0.1, "end": 0.2, "confidence": 0.5} for word in text.split()]
        answers.add(json.dumps({"kind": "final", "text": text, "words": words}))
    assert json.loads(answers.next()) == {
        "result": [{"conf": 0.5, "end": 0.2, "start": 0.1, "word": "ONE"}], "text": "ONE",
    }  # fmt: skip
    last = json.loads(answers.last())
    assert last["text"] == "TWO ONE TWO" and len(last["result"]) == 3
    assert json.loads(answers.last()) == {"text": ""} and json.loads(answers.next()) == {"partial": ""}
