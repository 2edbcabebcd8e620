"""The sizes of an upsampling decoder, as plain values of a configuration."""

from dataclasses import dataclass

from segvoc.configuration import check_range


@dataclass(frozen=True, kw_only=True)
class DecoderSizes:
    """Sizes of a decoder; the defaults are CAT-Seg's and PCA-Seg's."""

    lifts: tuple[int, ...] = (2, 4)
    """Factor by which each tap of the image encoder is upsampled before it guides a stage; empty if the taps fit."""
    taps: tuple[int, ...] = (256, 128)
    """Channels of each tap after upsampling."""
    guidance: tuple[int, ...] = (32, 16)
    """Guidance channels of each stage."""
    stages: tuple[int, ...] = (64, 32)
    """Output channels of each stage."""

    def __post_init__(self) -> None:
        """Reject sizes that are out of range."""
        check_range(self, {"lifts": (1, 16), "taps": (1, 4096), "guidance": (1, 4096), "stages": (1, 4096)})
