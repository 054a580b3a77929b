"""Settings that are right one by one and impossible together, each at its key."""

from __future__ import annotations

from pathlib import Path

import pytest

from segbatch.spec.data import Split
from tests.support.job_files import problems_at

FOLDERS = "data: {images: i, masks: m}\n"
TRAIN = "kind: train\nlabels: buildings\n"
PREDICT = "kind: predict\nmodel: m\n"
EVALUATE = "kind: evaluate\nlabels: buildings\n"
SCORED = "data: {masks: m, predictions: {folder: p}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # data
        (TRAIN + "data: {masks: m}", ["3:1: a train job needs `data.images`, the folder of the images"]),
        (TRAIN + "data: {images: i}", ["3:1: a train job needs `data.masks`, the folder of the ground truth"]),
        (PREDICT + "data: {masks: m}", ["3:1: a predict job needs `data.images`, the folder of the images"]),
        (PREDICT + "data:", ["3:1: a predict job needs `data.images`, the folder of the images"]),
        (EVALUATE + "data: {predictions: {folder: p}}",
         ["3:1: an evaluate job needs `data.masks`, the folder of the ground truth"]),
        (EVALUATE + "data: {masks: m}",
         ["3:1: an evaluate job needs `data.predictions`, such as {folder: path/of/predicted/masks}"]),
        (TRAIN + "data: {images: i, masks: m, predictions: {folder: p}}",
         ["3:29: 'data.predictions' belongs to kind: evaluate; this job is kind: train"]),
        (TRAIN + "data: {images: x, masks: ./x}",
         ["3:19: images and masks are the same folder, where pairing by stem would take each image for its own mask; "
          "pair by suffix or csv"]),
        (TRAIN + "data: {images: [y, 'x/**/*.jpg'], masks: ./x}",
         ["3:35: images and masks are the same folder, where pairing by stem would take each image for its own mask; "
          "pair by suffix or csv"]),
        (PREDICT + "data: {images: ['a', 'b'], image_list: l.txt}",
         ["3:8: the paths of a list start from one folder; `data.images` is a pattern or a list of sources"]),
        (PREDICT + "data: {images: i, image_list: l.txt, pair: {by: csv, file: t.csv}}",
         ["3:19: the table names the images already; leave `image_list` out, or pair by stem or suffix"]),
        (EVALUATE + "data: {masks: x, predictions: {folder: y/../x}}",
         ["3:32: the predictions are the ground truth itself; name the folder of the predicted masks"]),
        # split and part
        (PREDICT + "data: {images: i, part: val}",
         ["3:19: `part: val` needs a `data.split` that says what is in it"]),
        (PREDICT + "data: {images: i, part: test, split: {by: hash}}",
         ["3:19: the split gives no tiles to `part: test`"]),
        (PREDICT + "data: {images: i, part: val, split: {by: folder, parts: {train: [a]}}}",
         ["3:19: the split gives no tiles to `part: val`"]),
        (TRAIN + "data: {images: i, masks: m, part: val}",
         ["3:29: `data.part` is for predict and evaluate jobs; a train job uses the parts train and val"]),
        (TRAIN + "data: {images: i, masks: m, split: {fractions: {val: 1}}}",
         ["3:37: the split gives no tiles to train on"]),
        (TRAIN + "data: {images: i, masks: m, split: {by: counts, counts: {train: 0, val: 3}}}",
         ["3:49: the split gives no tiles to train on"]),
        (TRAIN + "data: {images: i, masks: m, split: {by: folder, parts: {train: []}}}",
         ["3:49: the split gives no tiles to train on"]),
        (TRAIN + "data: {images: i, masks: m, split: {by: column}}",
         ["3:37: a split by column reads the pairing table: it needs `data.pair: {by: csv, file: ...}`"]),
        (TRAIN + "data: {images: i, masks: m, split: {group: {column: city}}}",
         ["3:45: `group.column` reads the pairing table: it needs `data.pair: {by: csv, file: ...}`"]),
        (TRAIN + "data: {images: i, masks: m, split: {by: counts}}",
         ["3:37: a split by counts needs `counts`, such as {train: 2085, val: 521}"]),
        (TRAIN + "data: {images: i, masks: m, split: {fractions: {train: 0.8, val: 0.3}}}",
         ["3:37: expected fractions that add up to 1, received 1.1"]),
        (TRAIN + "data: {images: i, masks: m, split: {by: folder, seed: 3, column: x, fractions: {train: 1}}}",
         ["3:49: `seed` belongs to a split by hash or counts, not by folder",
          "3:58: `column` belongs to a split by column, not by folder",
          "3:69: `fractions` belongs to a split by hash, not by folder"]),
        (TRAIN + "data: {images: i, masks: m, split: {by: folder, parts: {train: [a, b], val: [b]}}}",
         ["3:78: 'b' cannot mean both train and val"]),
        (TRAIN + "data: {images: i, masks: m, split: {group: {folder: 1, pattern: '(x'}}}",
         ["3:45: expected exactly one of `column`, `pattern` and `folder`, received `pattern` and `folder`",
          "3:56: not a regular expression: missing ), unterminated subpattern at position 0"]),
        (TRAIN + "data: {images: i, masks: m, split: {group: {}}}",
         ["3:37: expected exactly one of `column`, `pattern` and `folder`, received none of them"]),
        # pairing
        (TRAIN + "data: {images: i, masks: m, pair: {by: suffix}}",
         ["3:36: pairing by suffix needs `image_suffix` and `mask_suffix`"]),
        (TRAIN + "data: {images: i, masks: m, pair: {by: csv}}", ["3:36: pairing by csv needs `file`"]),
        (TRAIN + "data: {images: i, masks: m, pair: {file: a.csv, image_suffix: .jpg}}",
         ["3:36: `file` belongs to pairing by csv, not by stem",
          "3:49: `image_suffix` belongs to pairing by suffix, not by stem"]),
        (TRAIN + "data: {images: i, masks: m, pair: {by: csv, file: a.csv, mask_column: image}}",
         ["3:58: images and masks cannot both come from the column 'image'"]),
        # model and loss
        (TRAIN + FOLDERS + "model: {freeze: true, weights: imagenet, decoder: pix2pix}",
         ["4:9: `freeze` needs an `encoder`, such as mobilenet_v2",
          "4:23: `weights` needs an `encoder`, such as mobilenet_v2",
          "4:42: `decoder` needs an `encoder`, such as mobilenet_v2"]),
        (TRAIN + FOLDERS + "model: {architecture: unet, encoder: mobilenet_v2}",
         ["4:29: the architecture unet has no `encoder`; leave out `architecture`, or say encoder_decoder"]),
        (TRAIN + FOLDERS + "model: {architecture: encoder_decoder}",
         ["4:9: the architecture encoder_decoder needs an `encoder`, such as mobilenet_v2"]),
        (TRAIN + FOLDERS + "model: {encoder: mobilenet_v2, filters: 8, depth: 3, upsampling: nearest}",
         ["4:32: `filters` belongs to the architecture unet, the architecture segnet, the architecture "
          "deeplab_v3_plus, the architecture fpn or the decoder unet, not to the decoder pix2pix",
          "4:44: `depth` belongs to the architecture unet or the architecture segnet, not to the decoder pix2pix",
          "4:54: `upsampling` belongs to the architecture unet or the decoder unet, not to the decoder pix2pix"]),
        (TRAIN + FOLDERS + "model: {architecture: fpn, encoder: vgg16, norm: group, decoder: unet}",
         ["4:44: `norm` belongs to the architecture unet, the architecture segnet, the architecture deeplab_v3_plus "
          "or the decoder unet, not to the architecture fpn",
          "4:57: `decoder` belongs to the architecture encoder_decoder, not to fpn"]),
        (TRAIN + FOLDERS + "model: {architecture: deeplab_v3_plus, filters: 8}",
         ["4:9: the architecture deeplab_v3_plus needs an `encoder`, such as mobilenet_v2"]),
        (TRAIN + FOLDERS + "model: {architecture: segnet, encoder: vgg16}",
         ["4:31: the architecture segnet has no `encoder`; leave out `architecture`, or say encoder_decoder"]),
        (TRAIN + FOLDERS + "model: {fine_tune_from: block5_conv1}",
         ["4:9: `fine_tune_from` needs an `encoder`, such as mobilenet_v2"]),
        (TRAIN + FOLDERS + "model: {encoder: vgg16, freeze: true, fine_tune_from: block5_conv1}",
         ["4:39: `freeze` keeps the whole encoder as it is; leave out one of `freeze` and `fine_tune_from`"]),
        (TRAIN + FOLDERS + "model: {encoder: resnet5, decoder: unett}",
         ["4:9: unknown encoder 'resnet5'. Did you mean 'resnet50'? Expected one of: efficientnet_b0, "
          "efficientnet_b1, efficientnet_b2, efficientnet_b3, efficientnet_b4, efficientnet_b5, efficientnet_b6, "
          "efficientnet_b7, mobilenet_v2, resnet50, vgg16",
          "4:27: unknown decoder 'unett'. Did you mean 'unet'? Expected one of: pix2pix, unet"]),
        (TRAIN + FOLDERS + "model: {architecture: u_net}",
         ["4:9: unknown architecture 'u_net'. Did you mean 'unet'? Expected one of: deeplab_v3_plus, "
          "encoder_decoder, fpn, segnet, unet"]),
        (TRAIN + FOLDERS + "model: {encoder: mobilenet_v2, input: [100, 47]}", []),
        (TRAIN + FOLDERS + "model: {encoder: vgg16, decoder: unet, filters: 8, norm: group, upsampling: nearest}", []),
        (TRAIN + "data: {images: i, masks: m, bands: 4}\nmodel: {encoder: mobilenet_v2, weights: imagenet}",
         ["4:32: ImageNet weights are for images of 3 bands, not of 4"]),
        ("kind: train\nlabels: camvid\n" + FOLDERS + "loss: {name: binary_crossentropy}",
         ["4:8: binary_crossentropy is for two classes; these labels have 11 that are not ignored"]),
        # predict
        (PREDICT + "data: {images: i, size: [64, 256]}\npredict: {fit: window, window: 128}",
         ["4:24: the window of 128 pixels is larger than the tiles, which `data.size` says are 64x256"]),
        (PREDICT + "data: {images: i}\npredict: {window: 128, overlap: 0.5}",
         ["4:11: `window` needs `fit: window`", "4:24: `overlap` needs `fit: window`"]),
        (PREDICT + "data: {images: i}\npredict: {fit: window, window: 128, overlap: 128}",
         ["4:37: expected an overlap below the window's 128 pixels, received 128"]),
        (PREDICT + "data: {images: i}\npredict: {shard_size: 9, tasks: 2}",
         ["4:11: `shard_size` and `tasks` both say how the tiles are cut up; keep one of them"]),
        (PREDICT + "labels: forest\ndata: {images: i}",
         ["3:1: `labels` are for Keras files; a bundle has its own"]),
        ("kind: predict\nmodel: {bundle: m, output: logits}\ndata: {images: i}",
         ["2:20: `output` is for Keras files; a bundle says it itself"]),
        ("kind: predict\nmodel: m.h5\ndata: {images: i}",
         ["2:1: a Keras file does not say what its channels mean: it needs `labels`, a built-in name or a labels "
          "file"]),
        ("kind: predict\nmodel: m.keras\nlabels: camvid\ndata: {images: i}\npredict: {threshold: 0.3}",
         ["5:11: `threshold` is for two classes; these labels have 11 that are not ignored. For more there are "
          "`thresholds`"]),
        ("kind: predict\nmodel: m.keras\nlabels: forest\ndata: {images: i}\npredict: {threshold: best_iou}",
         ["5:11: a Keras file has no threshold that training chose; give a number"]),
        ("kind: predict\nmodel: m.keras\nlabels: buildings\ndata: {images: i}\n"
         "predict: {thresholds: {house: 0.3}, fill_holes: {bulding: all}, min_region: {building: 9}}",
         ["5:24: no class 'house' that is not ignored. Expected one of: background or building.",
          "5:50: no class 'bulding' that is not ignored. Did you mean 'building'? Expected one of: background or "
          "building."]),
        ("kind: predict\nmodel: m.keras\nlabels: buildings\ndata: {images: i}\n"
         "predict: {thresholds: {background: 0.3, building: 0.3}}",
         ["5:11: leave out at least one of the 2 classes: those not named share what is left to 1"]),
        (PREDICT + "data: {images: i}\npredict: {threshold: 0.4, thresholds: {a: 0.7, b: 0.4}}",
         ["4:11: `threshold` and `thresholds` both say when a class is chosen; keep one of them",
          "4:27: expected thresholds that sum to less than 1, received 1.1; the classes not named share what is left"]),
        (PREDICT + "data: {images: i}\npredict: {test_time_augmentation: [flips, flips]}",
         ["4:43: flips is given twice"]),
        (PREDICT + "data: {images: i}\npredict: {threshold: 1, probabilities: 12, min_region: true, "
         "fill_holes: {a: some}, test_time_augmentation: [rotate]}",
         ["4:22: expected a number above 0 and below 1, or best_iou, received 1",
          "4:40: expected true, false, 8 or 16, received 12",
          "4:56: expected a number of pixels, or a mapping of classes to numbers of pixels such as {building: 20}, "
          "received true",
          "4:78: expected a whole number of at least 1 or 'all', received 'some'",
          "4:110: expected 'flips' or 'quarter_turns', received 'rotate'"]),
        # the threshold of a training
        ("kind: train\nlabels: camvid\n" + FOLDERS + "train: {threshold: best_iou}",
         ["4:9: `threshold` is for two classes; these labels have 11 that are not ignored",
          "4:9: best_iou is chosen on the validation part: it needs a `data.split` that gives tiles to `val`"]),
        (TRAIN + FOLDERS + "train: {threshold: 0.4}\nloss: {name: sparse_crossentropy}",
         ["4:9: `threshold` is for one channel; sparse_crossentropy gives each class its own. Take another loss"]),
        # resources, container, output, slurm
        (PREDICT + "data: {images: i}\nresources: {nodes: 2}",
         ["4:13: several nodes work together on train jobs only; this job is kind: predict, which `predict.tasks` cuts "
          "into tasks of one node"]),
        (EVALUATE + SCORED + "}\nresources: {nodes: 2}",
         ["4:13: several nodes work together on train jobs only; this job is kind: evaluate"]),
        (TRAIN + FOLDERS + "resources: {gpu_type: a100}", ["4:13: `gpu_type` needs `gpus`, which is 0"]),
        (TRAIN + FOLDERS + "container: {runtime: docker}",
         ["4:13: `runtime: docker` needs an `image`, a file or a name"]),
        (TRAIN + FOLDERS + "container: {image: a, env: [A]}",
         ["4:13: `image` needs a `runtime`, such as apptainer", "4:23: `env` needs a `runtime`, such as apptainer"]),
        (TRAIN + FOLDERS + "container: {runtime: docker, image: a, binds: ['/a:/b:ro', data], env: [A, 'B=1']}",
         ["4:60: expected `outside:inside` or `outside:inside:ro`, both absolute paths, received 'data'",
          "4:76: expected the name of an environment variable, received 'B=1'"]),
        (TRAIN + FOLDERS + "slurm: {time: 3, comment: x, nodelist: \"a\\nb\", exclude: \"a'b\", mem_per_cpu: 1, -x: 1}",
         ["4:9: say --time as `resources.time`",
          "4:18: segbatch sets --comment itself",
          "4:30: expected text without line breaks and control characters, received 'a\\nb'",
          "4:48: expected text whose quotes come in pairs, received \"a'b\"",
          "4:64: expected the long name of an sbatch option without dashes in front, received 'mem_per_cpu'; "
          "write 'mem-per-cpu'",
          "4:80: expected the long name of an sbatch option without dashes in front, received '-x'"]),
    ],
)  # fmt: skip
def test_impossible(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert problems_at(tmp_path, text) == expected


@pytest.mark.parametrize(("images", "masks", "key"), [("d", "m", "images"), ("i", "d", "masks")])
def test_runs_inside_the_data(tmp_path: Path, images: str, masks: str, key: str) -> None:
    text = TRAIN + f"data: {{images: {images}, masks: {masks}}}\noutput: {{runs: d/../d/runs}}"
    assert problems_at(tmp_path, text) == [
        f"4:10: runs cannot be written inside `data.{key}`, whose pictures they would become: {tmp_path}/d"
    ]


@pytest.mark.parametrize(
    "text",
    [
        TRAIN + "data: {masks: m, pair: {by: csv, file: t.csv}, split: {by: column, group: {column: city}}}",
        TRAIN + "data: {images: x, masks: x, pair: {by: suffix, image_suffix: _a.png, mask_suffix: _b.png}}",
        TRAIN + FOLDERS + "model: {encoder: mobilenet_v2, freeze: true, decoder: unet, input: [100, 100]}",
        TRAIN + FOLDERS + "loss: {name: binary_crossentropy}\noutput: {runs: images-runs}",
        TRAIN + FOLDERS + "container: {runtime: none, image: a.sif}",
        TRAIN + FOLDERS + "slurm: {exclusive: true, mem-per-cpu: 2G, licenses: 'a:1,b:2', mail-user: 'a@b.c'}",
        PREDICT + "data: {images: i, size: [64, 64]}\npredict: {fit: window, window: 64, overlap: 63}",
        PREDICT + "data: {images: i, part: test, split: {by: folder}}\npredict: {shard_size: 5}",
        "kind: predict\nmodel: {bundle: m.h5, output: probabilities}\nlabels: forest\ndata: {images: i}\n"
        "predict: {threshold: 0.7}",
        PREDICT + "data: {images: i}\npredict: {threshold: best_iou, probabilities: 16, fill_holes: {a: all, b: 4}, "
        "min_region: 8, test_time_augmentation: [quarter_turns, flips]}",
        PREDICT + "data: {images: i}\npredict: {thresholds: {a: 0.2, b: 0.7}, probabilities: 8, fill_holes: 3}",
        TRAIN + "data: {images: i, masks: m, split: {by: hash}}\ntrain: {threshold: best_iou}",
        EVALUATE + SCORED + ", images: i, part: val, split: {by: counts, counts: {val: 3}}}",
    ],
)
def test_possible(tmp_path: Path, text: str) -> None:
    assert problems_at(tmp_path, text) == []


def test_typos_and_combinations_are_reported_in_one_go(tmp_path: Path) -> None:
    text = (
        "kind: predict\n"
        "data:\n"
        "  imagse: tiles\n"
        "  part: val\n"
        "  size: [64, x]\n"
        "  bands: 50\n"
        "predict:\n"
        "  fit: window\n"
        "  window: 64\n"
        "  overlap: 64\n"
        "  batch_size: 0\n"
    )
    assert problems_at(tmp_path, text) == [
        "1:1: missing key 'model'. The model: a bundle folder, a registered model, or a Keras file.",
        "3:3: unknown key 'imagse' under 'data'. Did you mean 'images'?",
        "4:3: `part: val` needs a `data.split` that says what is in it",
        "5:14: expected a whole number from 1 to 65536, received 'x'",
        "6:10: expected a whole number from 1 to 32, received 50",
        "10:3: expected an overlap below the window's 64 pixels, received 64",
        "11:15: expected a whole number of at least 1, received 0",
    ]


def test_sections_made_in_code_refuse_conflicts_too() -> None:
    with pytest.raises(ValueError, match="needs `counts`"):
        Split(by="counts")
