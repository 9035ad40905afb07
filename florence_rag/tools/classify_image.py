"""classify_image: assigns one of several classes to an image."""

from typing import Annotated

from florence_rag.errors import InputError
from florence_rag.tasks.classifier import classify
from florence_rag.tools.base import ToolResult
from florence_rag.tools.image_argument import ImageArgument, ImageTool
from florence_rag.untrusted_text import quoted

PROMPT = """\
Choose which of several labels fits one image best. Use it to sort images into kinds of which you know the names: \
indoors or outdoors, receipt or photograph, kinds of vehicles or animals.
Pass the id of a search result and two or more labels, each a short noun phrase such as "a fire hydrant". One of them \
is always chosen, so add one for all others. For details, counts and positions use ask_image.
The confidence lies between 0 and 1 and compares these labels only. Below 0.5 say that you are not sure.\
"""
PROMPT_TRAINED = "\nInstead of labels you can name a classifier that was trained for this index: {}."


class ClassifyImage(ImageTool):
    """Assigns a class to an image, from labels or by a classifier that was trained for the index."""

    name = "classify_image"
    prompt = PROMPT

    def _own_prompt(self) -> str:
        """Name up to five trained classifiers."""
        trained = self.rag.classifiers.names()[:5]
        return PROMPT + PROMPT_TRAINED.format(", ".join(map(quoted, trained))) * bool(trained)

    def run(
        self,
        image: ImageArgument,
        labels: Annotated[list[str] | None, "The classes to choose from, two or more."] = None,
        classifier: Annotated[str | None, "The name of a trained classifier, instead of labels."] = None,
    ) -> ToolResult:
        """Return the label as text, and its candidates in the artifact. Raises InputError."""
        chosen = self.rag.classifiers.get(labels, self._known(classifier))
        resolved = self._resolve(image)
        vectors = self.rag.models.embedder.embed_images([resolved.middle])
        (result,) = classify(chosen, vectors, [resolved.hit])
        text = f"{quoted(result.label)} (confidence {result.confidence:.2f})\nOther candidates: "
        text += ", ".join(f"{quoted(label)} {confidence:.2f}" for label, confidence in result.candidates[1:])
        return resolved.to_result(f"{text}\nSeen in: {resolved.place}", result.to_dict())

    def _known(self, classifier: str | None) -> str | None:
        """Accept names only, because an agent must not open files."""
        if classifier is None or classifier in self.rag.classifiers.names():
            return classifier
        trained = ", ".join(map(quoted, self.rag.classifiers.names())) or "none, so give labels"
        raise InputError(f"no classifier is called {classifier!r:.80}; there is {trained}")
