"""Bodies of Label Studio's requests, and the answers that it wants."""

from typing import Literal

from pydantic import BaseModel, Field, JsonValue


class TaskFailureText(BaseModel):
    """Why there is no prediction."""

    code: str
    message: str


class LabelStudioTask(BaseModel):
    """A task of Label Studio's; what else it has doesn't matter."""

    id: int | str | None = None
    data: dict[str, JsonValue] = Field(
        description="Its data, with the image in the field that the labeling configuration names: a `data:` URI, or "
        "an address of the Label Studio that the service was started with."
    )


class PredictJson(BaseModel):
    """What Label Studio sends for predictions; what else it sends doesn't matter."""

    tasks: list[LabelStudioTask]
    label_config: str = Field(description="The project's labeling configuration, XML.")


class PredictionAnswer(BaseModel):
    """The prediction for a task."""

    result: list[dict[str, JsonValue]] = Field(description="Regions in Label Studio's form.")
    score: float = Field(description="Mean probability of the labeled pixels.")
    model_version: str


class TaskFailure(BaseModel):
    """Stands for the prediction of a task whose image can't be had."""

    error: TaskFailureText


class PredictAnswer(BaseModel):
    """The predictions, in the order of the tasks."""

    results: list[PredictionAnswer | TaskFailure]


class SetupJson(BaseModel):
    """What Label Studio sends when a project is connected; what else it sends, such as its token, isn't used."""

    project: str | int | None = None
    label_config: str | None = Field(None, alias="schema", description="The labeling configuration, XML.")


class SetupAnswer(BaseModel):
    """Which model answers."""

    model_version: str


class LabelStudioHealth(BaseModel):
    """How the service is, in Label Studio's words."""

    status: Literal["UP"]
    model_class: str


class WebhookAnswer(BaseModel):
    """What became of an event: nothing, since the model doesn't learn from annotations."""

    status: Literal["ignored"]
