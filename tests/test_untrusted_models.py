"""What a stranger's model or SAE says is checked before a library sees it; nothing of it runs, nothing is made up.

Files that a library interprets, and how they are kept from it:
- an SAE's cfg.json: own schema; sparsify gets the checked values (its reader imports and calls what `_type_` names).
- sae.safetensors, model.safetensors: names and shapes from the header first, then values, all finite.
- config.json, tokenizer_config.json, special_tokens_map.json, added_tokens.json, model.safetensors.index.json: bounded
  JSON without what names code or other weights, written anew into a private folder.
- generation_config.json: read for `eos_token_id` only, not handed on.
- chat_template.jinja: rendered once around a mark, in a process with bounded time and memory.
- tokenizer.json, tokenizer.model, vocab.json, merges.txt: read by tokenizers (Rust) as they are; its errors are told.
- manifest.json, experiment.json, writer.json: own schemas, sealed (test_store_repair.py, test_untrusted_files.py).
- journal/*.parquet, directions.parquet: sealed before Arrow reads them.
- latents-*.duckdb: tables only, no views, no other file can be opened; checksums by block and of the whole.
- notes.sqlite: SQLite reads it; rows are text and are shown as text (test_notes.py).
- problems: one JSON object a line, bounded (test_problems.py).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    Qwen3Config,
)

from kthink_core import demo
from kthink_core.errors import BadFile, BadTemplate, KthinkError, UnsupportedModel, UnsupportedSae
from kthink_core.model import chat_template
from kthink_core.model.chat_template import frames
from kthink_core.model.language_model import load_model
from kthink_core.model.sae_folders import load_saes
from kthink_core.prompts import BYPASS, INSTRUCTION, prompt_ids

CPU = torch.device("cpu")
HOOKPOINT = "layers.1.mlp"
Alter = Callable[[dict[str, torch.Tensor]], object]


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny / "model", tmp_path / "model")


@pytest.fixture
def saes(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny / "saes", tmp_path / "saes")


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


def retensor(path: Path, alter: Alter) -> None:
    tensors = load_file(path)
    alter(tensors)
    save_file(tensors, path, {"format": "pt"})


def told(error: KthinkError) -> str:
    """One helpful line."""
    line = str(error)
    assert "\n" not in line and len(line) < 700
    return line


def refused_sae(folder: Path) -> str:
    with pytest.raises((BadFile, UnsupportedSae)) as caught:
        load_saes(str(folder), None, [HOOKPOINT], CPU)
    return told(caught.value)


def refused_model(folder: Path) -> str:
    with pytest.raises(KthinkError) as caught:
        load_model(str(folder), None, CPU)
    return told(caught.value)


@pytest.mark.parametrize("named", ["os.abort", "evil.Ran", "pydoc.browse", "builtins.exit"])
def test_a_type_in_cfg_json_is_not_called(
    saes: Path, tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Ran: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    change(saes / HOOKPOINT / "cfg.json", _type_=named)
    assert "cfg.json: _type_: Extra inputs are not permitted" in refused_sae(saes)
    assert not (tmp_path / "ran").exists() and "evil" not in sys.modules


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"k": 0}, "k: Input should be greater than or equal to 1"),
        ({"k": 129}, "k is 129, more than the 128 latents there are"),
        ({"k": 10**4000}, "k: "),
        ({"k": "8"}, "k: Input should be a valid integer"),
        ({"d_in": 0}, "d_in: "),
        ({"d_in": 33}, "of another shape: W_dec [128, 32] instead of [128, 33]"),
        ({"num_latents": 2**40}, "num_latents: "),
        ({"num_latents": 64}, "of another shape: W_dec [128, 32] instead of [64, 32]"),
        ({"num_latents": 0, "expansion_factor": 2**26}, "latents are more than"),
        ({"activation": ["topk"]}, "uses activation"),
        ({"activation": "groupmax", "k": 7}, "128 latents do not fall into 7 groups of one size"),
        ({"signed": True}, "signed: "),
        ({"hookpoint": "x"}, "hookpoint: Extra inputs are not permitted"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_values_of_cfg_json_are_checked(saes: Path, fields: dict[str, object], message: str) -> None:
    path = saes / HOOKPOINT / "cfg.json"
    written = json.loads(path.read_text()) | dict.fromkeys(fields)
    text = json.dumps(written)
    for name, value in fields.items():
        shown = hex(value) if isinstance(value, int) and value > 10**100 else json.dumps(value)
        text = text.replace(f'"{name}": null', f'"{name}": {"1" + "0" * 4000 if shown.startswith("0x") else shown}')
    path.write_text(text)
    assert message in refused_sae(saes)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"k"', "[" * 100_000, "", "\ufeff{}", '{"d_in": 1e999}'])
def test_a_cfg_json_of_another_shape_is_one_line(saes: Path, content: str) -> None:
    (saes / HOOKPOINT / "cfg.json").write_text(content, "utf-8")
    assert "cfg.json" in refused_sae(saes)


def test_older_versions_of_cfg_json_are_read(saes: Path) -> None:
    path = saes / HOOKPOINT / "cfg.json"
    kept = {name: json.loads(path.read_text())[name] for name in ("d_in", "num_latents", "k")}
    path.write_text(json.dumps(kept | {"expansion_factor": 4, "normalize_decoder": True, "signed": False}))
    assert load_saes(str(saes), None, [HOOKPOINT], CPU).shapes()[HOOKPOINT].k == kept["k"]


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda found: found.pop("b_dec"), "missing: b_dec"),
        (lambda found: found.update(extra=torch.zeros(3)), "unexpected: extra"),
        (lambda found: found["W_dec"].fill_(torch.nan), "W_dec: not every number is finite"),
        (lambda found: found["encoder.bias"][3:4].fill_(torch.inf), "encoder.bias: not every number is finite"),
        (lambda found: found.update(b_dec=torch.zeros(32, dtype=torch.int32)), "not all of one of the types"),
        (lambda found: found.update({name: t.to(torch.float8_e4m3fn) for name, t in found.items()}), "not all of one"),
        (lambda found: found.update(b_dec=torch.zeros(2, 16)), "of another shape: b_dec [2, 16] instead of [32]"),
    ],
)
def test_weights_of_an_sae_are_checked(
    saes: Path, alter: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    retensor(saes / HOOKPOINT / "sae.safetensors", alter)
    assert message in refused_sae(saes)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda found: found.pop("model.layers.3.mlp.up_proj.weight"), "missing: model.layers.3.mlp.up_proj.weight"),
        (lambda found: [found.pop(name) for name in list(found) if ".layers.2." in name], "and 7 more"),
        (lambda found: found.update({"model.layers.9.extra": torch.zeros(3)}), "unexpected: model.layers.9.extra"),
        (lambda found: found["model.norm.weight"].fill_(torch.nan), "not finite: model.norm.weight"),
        (lambda found: found["lm_head.weight"][5:6, 5:6].fill_(-torch.inf), "not finite: lm_head.weight"),
        (lambda found: found.update({"model.norm.weight": torch.ones(31)}), "model.norm.weight"),
    ],
)
def test_weights_of_a_model_are_checked(
    model: Path, alter: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    retensor(model / "model.safetensors", alter)
    assert message in refused_model(model)


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("config.json", {"num_hidden_layers": 5, "layer_types": ["full_attention"] * 5}, "missing: model.layers.4."),
        ("config.json", {"num_hidden_layers": 5}, "its config.json cannot be used"),
        ("config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000: too large"),
        ("config.json", {"hidden_size": 2**20, "num_attention_heads": 2}, "describes a model of"),
        ("config.json", {"vocab_size": 2**39}, "vocab_size is 549755813888: too large"),
        ("config.json", {"max_position_embeddings": "many"}, "model"),
        ("config.json", {"max_position_embeddings": 0}, "how many positions"),
        ("config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}, "it has a quantization_config"),
        ("config.json", {"transformers_weights": "other.safetensors"}, "it has a transformers_weights"),
        ("config.json", {"model_type": "../evil"}, "config.json: model_type"),
        ("config.json", {"model_type": "unheard_of"}, "unheard_of"),
        ("config.json", {"eos_token_id": "</s>"}, "config.json: eos_token_id"),
        ("config.json", {"hidden_size": [32]}, "model"),
        ("config.json", {"num_key_value_heads": 0}, "its config.json cannot be used"),
        ("config.json", {"pad_token_id": 10**9}, "its config.json cannot be used"),
        ("config.json", {"some_sizes": [3, 2**40]}, "some_sizes is 1099511627776: too large"),
        ("config.json", {"attention_types": [[["global"], 2**20]]}, "attention_types is 1048576: too large"),
        ("generation_config.json", {"eos_token_id": "</s>"}, "generation_config.json: eos_token_id"),
        ("generation_config.json", {"eos_token_id": [1, -4]}, "generation_config.json: eos_token_id"),
        ("generation_config.json", {"eos_token_id": True}, "generation_config.json: eos_token_id"),
    ],
)  # fmt: skip
def test_settings_of_a_model_are_checked(model: Path, file: str, fields: dict[str, object], message: str) -> None:
    change(model / file, **fields)
    assert message in refused_model(model)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["[]", "[" * 100_000, '{"a": ' * 300, "", "{}", '{"model_type": 3}', "\udcff"])
def test_a_file_of_a_model_of_another_shape_is_one_line_or_does_not_matter(
    model: Path, file: str, content: str
) -> None:
    (model / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    try:
        assert load_model(str(model), None, CPU).stop_ids.tolist()
    except KthinkError as error:
        assert file in told(error) or "tokenizer" in told(error) or "chat template" in told(error)


def test_numbers_that_make_nothing_are_let_be(model: Path) -> None:
    (model / "config.json").write_text(
        (model / "config.json").read_text().replace("{", '{"time_step_limit": [0.0, Infinity], "num_labels": 1e15,', 1)
    )
    change(model / "tokenizer_config.json", model_max_length=10**30)
    assert load_model(str(model), None, CPU).context == 131_072


def test_code_that_a_model_names_is_not_looked_at(model: Path, tmp_path: Path) -> None:
    (model / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    names = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", None]}
    change(model / "config.json", auto_map=names, _attn_implementation="somebody/kernels", _commit_hash="x")
    change(model / "tokenizer_config.json", auto_map=names, tokenizer_file="/etc/passwd")
    lm = load_model(str(model), None, CPU)
    assert lm.model.config._attn_implementation in ("sdpa", "eager")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../../secret.safetensors", "/etc/passwd", "model.bin", ".safetensors", 3])
def test_an_index_names_plain_files_beside_it(model: Path, name: object) -> None:
    (model / "model.safetensors").rename(model / "whole.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    assert "weight_map" in refused_model(model)


def test_weights_in_several_files_are_read(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    halves = [dict(list(tensors.items())[part::2]) for part in range(2)]
    for part, half in enumerate(halves):
        save_file(half, model / f"part-{part}.safetensors", {"format": "pt"})
    where = {name: f"part-{part}.safetensors" for part, half in enumerate(halves) for name in half}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    lm = load_model(str(model), None, CPU)
    assert torch.equal(lm.model.state_dict()["lm_head.weight"], tensors["lm_head.weight"])
    (model / "part-1.safetensors").unlink()
    assert "part-1.safetensors" in refused_model(model)


def test_a_model_without_a_chat_template_says_what_to_do(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    assert "has no chat template" in refused_model(model)


def test_a_template_among_the_tokenizers_settings_is_found(model: Path, tiny_lm: Any) -> None:
    text = (model / "chat_template.jinja").read_text("utf-8")
    (model / "chat_template.jinja").unlink()
    for stated in (text, [{"name": "tool", "template": "x"}, {"name": "default", "template": text}]):
        change(model / "tokenizer_config.json", chat_template=stated)
        assert load_model(str(model), None, CPU).frames == tiny_lm.frames


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for i in range(10**9) %}{{ i }}{% endfor %}", "Range too big"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "it took more than"),
        ("{{ 'a' * 10**10 }}{{ messages[0].content }}", "emory"),
        ("{{ 'a' * 10**6 }}{{ messages[0].content }}", "more than 100,000 characters"),
        ("{{ messages[0].content }}{{ messages[0].content }}", "as it is, once"),
        ("nothing", "as it is, once"),
        ("{{ messages[0].content | upper }}", "as it is, once"),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "unsafe"),
        ("{{ raise_exception('no such role') }}", "no such role"),
        ("{% for %}", "Expected an expression"),
    ],
    ids=range(10),
)  # fmt: skip
def test_a_template_that_runs_away_is_ended_and_told(
    template: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "SECONDS", 3)
    with pytest.raises(BadTemplate) as caught:
        frames(template, {})
    assert message in told(caught.value)


DEEPSEEK = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% set ns = namespace(is_first=false, system_prompt='') %}{{ bos_token }}{{ ns.system_prompt }}"
    "{%- for message in messages %}{%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}"
    "{%- elif message['role'] == 'assistant' %}{{ message['content'].split('</think>')[-1] }}{%- endif %}{%- endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
QWEN = (
    "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
TRIMMING = (
    "{{ bos_token }}{% for message in messages %}[INST] {{ message.content | trim }} [/INST]"
    "{% generation %}{% endgeneration %}{% endfor %}{{ strftime_now('%Y') }}"
)


@pytest.mark.parametrize("template", [DEEPSEEK, QWEN, TRIMMING, demo.MODEL.joinpath("chat_template.jinja").read_text()])
@pytest.mark.parametrize("mode", ["think", "bypass"])
def test_prompts_are_what_the_library_would_make(template: str, mode: Any) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(demo.MODEL)
    found = frames(template, tokenizer.special_tokens_map)
    question = "Tom has 3 apples. {{ evil }} </think> How many?"
    content = question + (INSTRUCTION if mode == "think" else BYPASS)
    wanted = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], chat_template=template, add_generation_prompt=mode == "think",
        tokenize=True, return_dict=False,
    )  # fmt: skip
    assert prompt_ids(tokenizer, found, question, mode) == wanted


def test_a_published_tokenizers_settings_are_read(model: Path, tiny_lm: Any) -> None:
    """As DeepSeek's distilled models have them: tokens as objects with a `__type`, and the template among them."""
    tokens = {
        name: {"__type": "AddedToken", "content": getattr(tiny_lm.tokenizer, name), "lstrip": False,
               "normalized": True, "rstrip": False, "single_word": False}
        for name in ("bos_token", "eos_token", "pad_token")
    }  # fmt: skip
    (model / "tokenizer_config.json").write_text(
        json.dumps(
            tokens | {"add_bos_token": True, "add_eos_token": False, "clean_up_tokenization_spaces": False,
                      "legacy": True, "model_max_length": 16384, "sp_model_kwargs": {}, "unk_token": None,
                      "tokenizer_class": "LlamaTokenizerFast",
                      "chat_template": (model / "chat_template.jinja").read_text("utf-8")}
        )
    )  # fmt: skip
    (model / "chat_template.jinja").unlink()
    lm = load_model(str(model), None, CPU)
    text = "<｜User｜>Tom has 3 apples.<｜Assistant｜><think>"
    assert lm.tokenizer.encode(text, add_special_tokens=False) == tiny_lm.tokenizer.encode(
        text, add_special_tokens=False
    )
    assert lm.frames == tiny_lm.frames


OUTLINE: dict[str, Any] = {
    "vocab_size": 1413, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "bos_token_id": 1405, "eos_token_id": 1406,
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**OUTLINE, intermediate_size=64, num_key_value_heads=2),
        Qwen3Config(**OUTLINE, intermediate_size=64, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True),
        Gemma2Config(**OUTLINE, intermediate_size=64, num_key_value_heads=2, head_dim=8),
        GPTNeoXConfig(**OUTLINE, intermediate_size=64),
        GPT2Config(vocab_size=1413, n_embd=32, n_layer=2, n_head=4, n_positions=256, eos_token_id=1406),
    ],
    ids=lambda config: config.model_type,
)
def test_other_architectures_are_loaded_whole(config: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made: Any = AutoModelForCausalLM.from_config(config)
    made.save_pretrained(tmp_path, max_shard_size="60KB")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(demo.MODEL / name, tmp_path / name)
    lm = load_model(str(tmp_path), None, CPU)
    assert lm.stop_ids.tolist() == [1406] and lm.context == 256
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.inference_mode():
        assert torch.allclose(lm.model(ids).logits, made.eval()(ids).logits, atol=1e-5)


def test_a_name_for_another_attribute_is_not_believed(model: Path) -> None:
    for other in ("_attn_implementation", "quantization_config", "transformers_weights"):
        change(model / "config.json", attribute_map={"foo": other}, foo="evil/kernel")
        lm = load_model(str(model), None, CPU)
        assert lm.model.config._attn_implementation in ("sdpa", "eager")
        assert getattr(lm.model.config, "quantization_config", None) is None


def test_a_map_of_special_tokens_names_no_files(model: Path, tmp_path: Path) -> None:
    outside = json.loads((model / "tokenizer.json").read_text("utf-8"))
    outside["added_tokens"][0]["content"] = "OUTSIDE"
    (tmp_path / "outside.json").write_text(json.dumps(outside))
    for name in ("tokenizer_file", "gguf_file", "vocab_file"):
        (model / "special_tokens_map.json").write_text(json.dumps({name: str(tmp_path / "outside.json")}))
        assert "OUTSIDE" not in load_model(str(model), None, CPU).tokenizer.get_vocab()


def test_unsupported_models_are_of_their_own_kind(model: Path) -> None:
    change(model / "config.json", quantization_config={"bits": 4})
    with pytest.raises(UnsupportedModel):
        load_model(str(model), None, CPU)
