"""Audio files, decoded by libsndfile to the end of their data; the length in the header is compared with the file."""

from augmem.audio.channels import channel_index, choose_channel
from augmem.audio.file import MAX_PEAK, SAMPLE_RATES, AudioFile
from augmem.audio.span import WHOLE, Span, blocks_within, read_time

__all__ = [
    "MAX_PEAK",
    "SAMPLE_RATES",
    "WHOLE",
    "AudioFile",
    "Span",
    "blocks_within",
    "channel_index",
    "choose_channel",
    "read_time",
]
