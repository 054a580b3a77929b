"""From a job's `predict` section to what predicts batches and what cleans masks."""

from __future__ import annotations

from segbatch.inference.cleaning import Cleaning
from segbatch.inference.step import Step
from segbatch.inference.views import views_of
from segbatch.inference.windows import WindowStep
from segbatch.models.bundle import Bundle, resized_model
from segbatch.spec.inference import Predict
from segbatch.spec.mask_rules import rules_of


def predictor_of(bundle: Bundle, settings: Predict, *, with_truth: bool) -> Step | WindowStep:
    """Make what a job predicts its batches with.

    Args:
        bundle: model and what belongs to it.
        settings: the job's `predict`.
        with_truth: whether batches bring ground truth.

    Raises:
        InputError: the model has not what the settings ask for, or cannot work at the window's size.
    """
    rules = rules_of(settings, bundle.info, bundle.path)
    views, bits = views_of(settings.test_time_augmentation), settings.probability_bits
    if settings.fit == "resize":
        return Step(
            bundle,
            rules=rules,
            batch_size=settings.batch_size,
            with_truth=with_truth,
            probability_bits=bits,
            views=views,
        )
    window = settings.window or min(bundle.info.input)
    return WindowStep(
        bundle if bundle.info.input == (window, window) else resized_bundle(bundle, window),
        window=window,
        overlap=settings.overlap,
        rules=rules,
        batch_size=settings.batch_size,
        with_truth=with_truth,
        probability_bits=bits,
        views=views,
    )


def cleaning_of(bundle: Bundle, settings: Predict) -> Cleaning | None:
    """What a job does to masks after the decision; None for nothing. Raises as `predictor_of` does."""
    rules = rules_of(settings, bundle.info, bundle.path)
    return Cleaning(rules) if rules.cleaning else None


def resized_bundle(bundle: Bundle, side: int) -> Bundle:
    """Return the bundle with its network built anew for windows of `side` x `side` pixels, same weights."""
    info = bundle.info.model_copy(update={"input": (side, side)})
    return Bundle(info=info, model=resized_model(bundle.model, side, side), path=bundle.path)
