"""Settings of networks, in the names of the original code and in ours, and the files that hold them."""

import json

import pytest
from PIL import Image

from florence_rag.errors import ModelError
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.hyper_parameters import parse_settings, read_settings_file
from florence_rag.models.meter import MeterConfig
from florence_rag.models.processing import CLIP_MEAN, IMAGENET_MEAN

FILES = {
    "config.json": '{"num_heads": 4, "text_config": {"num_attention_heads": 2}}',
    "config.yaml": "num_heads: 4\ntext_config:\n  num_attention_heads: 2\n",
    "CONFIG.YML": "{num_heads: 4, text_config: {num_attention_heads: 2}}",
    "config.toml": "num_heads = 4\n[text_config]\nnum_attention_heads = 2\n",
    "lightning.json": '{"hyper_parameters": {"config": {"num_heads": 4, "text_config": {"num_attention_heads": 2}}}}',
    "bom.json": '\ufeff{"num_heads": 4, "text_config": {"num_attention_heads": 2}}',
}


@pytest.mark.parametrize("name", FILES)
def test_a_configuration_is_read_in_every_format(name, tmp_path):
    (tmp_path / name).write_text(FILES[name], "utf-8")
    settings = read_settings_file(tmp_path / name, MeterConfig)
    assert settings.values == {"num_heads": 4, "text_config.num_attention_heads": 2}


def test_the_configuration_of_a_converted_model_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(MeterConfig().to_dict()))
    values = read_settings_file(tmp_path / "config.json", MeterConfig).values
    assert (values["num_heads"], values["text_config.hidden_size"], values["image_config.patch_size"]) == (12, 768, 32)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ini", "x", r"must be a file that ends in \.json, \.yaml, \.yml, \.toml"),
        ("a.json", "{", "cannot be read: is not JSON: Expecting"),
        ("a.json", "", "cannot be read: is not JSON: Expecting value"),
        ("a.yaml", "a: [", "cannot be read: while parsing"),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']", "cannot be read: could not determine a constructor"),
        ("a.toml", "a = ", "cannot be read"),
        ("a.json", '{"foo": 1}', "has no setting of a meter network: foo"),
        ("a.json", "[1]", "has no setting of a meter network: nothing"),
        ("a.json", '{"text_config": 5}', "has no setting of a meter network: text_config"),
    ],
)
def test_a_configuration_that_holds_no_settings_is_refused_in_one_line(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_settings_file(tmp_path / name, MeterConfig)
    assert "\n" not in str(caught.value)


def test_a_missing_configuration_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.json' cannot be read: .*No such file"):
        read_settings_file(tmp_path / "none.json", MeterConfig)


def test_what_omegaconf_has_not_resolved_is_no_value(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "{hidden_size: 96, num_heads: '???', max_text_len: '${none}', drop_rate: null}"
    )
    assert read_settings_file(tmp_path / "config.yaml", MeterConfig).values == {"hidden_size": 96}


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"MODEL.IMAGE_ENCODER.TYPE": "focal"}, FlorenceConfig, "TYPE = 'focal', but only 'swin'"),
        ({"MODEL.TEXT_ENCODER.AUTOGRESSIVE": False}, FlorenceConfig, "AUTOGRESSIVE = False, but only True"),
        (
            {"tokenizer": "bert-base-uncased"},
            MeterConfig,
            "tokenizer = 'bert-base-uncased', but only METER with RoBERTa",
        ),
        ({"val_transform_keys": ["pixelbert"]}, MeterConfig, "the supported transforms are clip, imagenet, vit"),
        ({"val_transform_keys": 5}, MeterConfig, "the supported transforms are clip, imagenet, vit"),
    ],
)
def test_what_our_networks_cannot_do_is_refused(given, kind, message):
    with pytest.raises(ModelError, match=message):
        parse_settings(given, kind, "the checkpoint")


def test_the_transforms_of_images_are_those_of_the_training():
    def image(**given):
        return parse_settings(given, MeterConfig, "").image

    assert image(val_transform_keys=["clip"])["image_mean"] == CLIP_MEAN
    assert image(val_transform_keys="imagenet_randaug")["image_mean"] == IMAGENET_MEAN
    assert image(val_transform_keys=["vit"])["image_std"] == (0.5, 0.5, 0.5)
    unicl = {"TEST.CROP": False, "DATA.INTERPOLATION": "bilinear"}
    options = parse_settings(unicl, FlorenceConfig, "").image
    assert options == {"fit": "squash", "resample": int(Image.Resampling.BILINEAR)}
