"""What a predict task needs before its first batch: the model, its engine, the step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from segbatch.data.decode import ImageFormat
from segbatch.errors import SegbatchError
from segbatch.inference.cleaning import Cleaning
from segbatch.inference.engines.choice import make_engine
from segbatch.inference.step import Step
from segbatch.inference.views import views_of
from segbatch.inference.windows import WindowStep
from segbatch.models.bundle import Bundle, load_bundle, resized_model
from segbatch.runs.bundles import bundle_digest
from segbatch.runs.run import Run
from segbatch.spec.bundle import BundleInfo
from segbatch.spec.inference import Predict
from segbatch.spec.job import PredictJob
from segbatch.spec.mask_rules import rules_of


def bundle_of_run(run: Run, job: PredictJob) -> Bundle:
    """Load the model that a run was submitted with.

    Raises:
        SegbatchError: it has changed since.
    """
    path = Path(run.record.bundle)
    if bundle_digest(path) != run.record.digests["bundle"]:
        raise SegbatchError(
            f"{path}: the model has changed since the run was submitted. Masks of two models must not mix: "
            "submit a new run, or put the old model back."
        )
    return bundle_of_job(path, job)


def bundle_of_job(path: Path, job: PredictJob) -> Bundle:
    """Load a job's model."""
    return load_bundle(path, labels=job.labels, normalize=job.model.normalize, output=job.model.output)


def make_step(
    bundle: Bundle, settings: Predict, *, with_truth: bool, engine: str = "tensorflow", digest: str = ""
) -> Step | WindowStep:
    """Make the step that predicts as a job says.

    Args:
        bundle: the model.
        settings: of the job.
        with_truth: tiles have ground truth.
        engine: what runs the network.
        digest: of the bundle, under which what was exported for another engine is kept.

    Raises:
        InputError: the engine's packages are missing, the model has not what the settings ask for, or it cannot work at
            the window's size.
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
            engine=make_engine(engine, bundle, digest),
        )
    window = settings.window or min(bundle.info.input)
    fitted = bundle if bundle.info.input == (window, window) else resized_bundle(bundle, window)
    return WindowStep(
        fitted,
        window=window,
        overlap=settings.overlap,
        rules=rules,
        batch_size=settings.batch_size,
        with_truth=with_truth,
        probability_bits=bits,
        views=views,
        engine=make_engine(engine, fitted, digest),
    )


def cleaning_of(info: BundleInfo, path: Path, settings: Predict) -> Cleaning | None:
    """What a job does to masks after the decision; None for nothing. Raises as `make_step` does."""
    rules = rules_of(settings, info, path)
    return Cleaning(rules) if rules.cleaning else None


def image_format(info: BundleInfo) -> ImageFormat:
    """How images must be decoded for a bundle."""
    return ImageFormat(info.bands, info.depth, info.decode)


def resized_bundle(bundle: Bundle, side: int) -> Bundle:
    """Return the bundle with its network built anew for windows of `side` x `side` pixels, same weights."""
    info = bundle.info.model_copy(update={"input": (side, side)})
    return replace(bundle, info=info, model=resized_model(bundle.model, side, side), mean_image=None)
