"""Audio files, decoded by libsndfile to their true end; what a header promises is compared with the file."""

from augmem.audio.channels import channel_index, choose_channel
from augmem.audio.file import MAX_PEAK, SAMPLE_RATES, AudioFile

__all__ = ["MAX_PEAK", "SAMPLE_RATES", "AudioFile", "channel_index", "choose_channel"]
