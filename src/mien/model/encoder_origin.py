"""Where an encoder comes from that was first trained in another run, as ``provenance.json`` records it."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from mien.weights.licences import WeightLicence

_USES = {"kept": "kept as it was", "adapted": "adapted slowly", "start": "used as a start"}


class EncoderOrigin(BaseModel):
    """Where the encoder of a modality comes from.

    Attributes:
        run: name of the run, or of the model folder.
        part: ``stage1``, ``refit`` (stage 1 of the refit), or ``model`` (the encoder of the model itself).
        sha256: of the weights of that model.
        data: name of the data it was trained on.
        trained_on: these data in words, with the number of clips.
        targets: for which it was trained.
        models: their number; model k of the new run has the encoder of model k modulo this number.
        use, rate: as in the settings.
        synthetic: whether these data were synthetic people.
        weights: pretrained weights behind it, with their licences.
        earlier: if it had come from another run itself, that run and its data.
    """

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    run: str
    part: Literal["stage1", "refit", "model"]
    sha256: str
    data: str
    trained_on: str
    targets: tuple[str, ...]
    models: int
    use: Literal["kept", "adapted", "start"]
    rate: float
    synthetic: bool = False
    weights: tuple[WeightLicence, ...] = ()
    earlier: tuple[str, ...] = ()


def origins_in(provenance: Mapping[str, Any]) -> dict[str, EncoderOrigin]:
    """The origins of encoders from other runs, by modality.

    Raises:
        ValueError: the record is damaged.
    """
    return {
        name: EncoderOrigin.model_validate(one, strict=False) for name, one in provenance.get("encoders", {}).items()
    }


def origin_text(modality: str, origin: EncoderOrigin) -> str:
    """One sentence.

    >>> origin = EncoderOrigin(run="words", part="stage1", sha256="12" * 32, data="go.csv", models=3, use="kept",
    ...                        trained_on="900 clips of go.csv", targets=("joy", "pride"), rate=0.05)
    >>> origin_text("text", origin)
    'text: encoder of words, trained on 900 clips of go.csv for joy, pride; kept as it was (SHA-256 121212121212…)'
    """
    earlier = f", before that {'; '.join(origin.earlier)}" if origin.earlier else ""
    synthetic = ", which are synthetic people" if origin.synthetic else ""
    return (
        f"{modality}: encoder of {origin.run}, trained on {origin.trained_on}{synthetic} for "
        f"{', '.join(origin.targets)}{earlier}; {_USES[origin.use]} (SHA-256 {origin.sha256[:12]}…)"
    )
