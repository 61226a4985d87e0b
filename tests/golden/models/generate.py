"""Golden logits and embeddings of the tiny models, computed by Hugging Face transformers in float32.

    pip install torch transformers gguf
    bun tests/golden/models/write.ts /tmp/tiny
    python tests/golden/models/generate.py /tmp/tiny

Writes these files beside this script:
  NAME.f32         for each case, logits [positions, vocabulary], little-endian float32
  index.json       the token ids and the digest of each model file
  embeddings.json  for each case, the last hidden states pooled in three ways to a vector of length 1
The mapping from GGUF back to transformers is written out here on purpose: it shares no code with the reader and the plans under test.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

HERE = Path(__file__).parent
CONFIGS = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def read(path):
    reader = GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {t.name: np.array(t.data, dtype=np.float32).reshape([int(n) for n in t.shape][::-1]) for t in reader.tensors}
    return fields, tensors


def unpermute(values, n_heads):
    """Reorders rows: rotated pairs are adjacent in a llama GGUF, and half a head apart in transformers."""
    rows = values.shape[0]
    split = values.reshape(n_heads, rows // n_heads // 2, 2, *values.shape[1:])
    return split.swapaxes(1, 2).reshape(values.shape)


def rope_parameters(options, fields, arch):
    base = fields[f"{arch}.rope.freq_base"]
    rope = options.get("rope")
    if rope is None:
        return {"rope_type": "default", "rope_theta": base}
    parameters = {"rope_type": rope["type"], "rope_theta": base, "factor": float(rope["factor"])}
    if rope["type"] != "linear":
        parameters["original_max_position_embeddings"] = rope["original_context"]
    if rope["type"] == "llama3":
        parameters["low_freq_factor"] = float(rope["low_freq_factor"])
        parameters["high_freq_factor"] = float(rope["high_freq_factor"])
    return parameters


def load(path, options):
    fields, tensors = read(path)
    arch = fields["general.architecture"]
    get = lambda name: fields[f"{arch}.{name}"]
    arguments = dict(
        hidden_size=get("embedding_length"),
        num_hidden_layers=get("block_count"),
        num_attention_heads=get("attention.head_count"),
        num_key_value_heads=get("attention.head_count_kv"),
        head_dim=get("attention.key_length"),
        intermediate_size=get("feed_forward_length"),
        vocab_size=tensors["token_embd.weight"].shape[0],
        max_position_embeddings=get("context_length"),
        rms_norm_eps=get("attention.layer_norm_rms_epsilon"),
        tie_word_embeddings="output.weight" not in tensors,
        rope_parameters=rope_parameters(options, fields, arch),
        attn_implementation="eager",
        bos_token_id=None,
        eos_token_id=None,
    )
    if arch in ("llama", "qwen3"):
        arguments["attention_bias"] = "blk.0.attn_q.bias" in tensors
    if arch == "mistral":
        arguments["sliding_window"] = get("attention.sliding_window")
    model = AutoModelForCausalLM.from_config(CONFIGS[arch](**arguments), dtype=torch.float32).eval()

    state = {}
    for name, values in tensors.items():
        if name == "rope_freqs.weight":
            continue
        if name in TOP_NAMES:
            state[TOP_NAMES[name]] = torch.tensor(values)
            continue
        _, layer, part, kind = name.split(".")
        if arch in ("llama", "mistral") and part in ("attn_q", "attn_k"):
            heads = get("attention.head_count" if part == "attn_q" else "attention.head_count_kv")
            values = unpermute(values, heads)
        state[f"model.layers.{layer}.{LAYER_NAMES[part]}.{kind}"] = torch.tensor(values.copy())
    missing, unexpected = model.load_state_dict(state, strict=False)
    tied = {"lm_head.weight"} if arguments["tie_word_embeddings"] else set()
    assert not unexpected and set(missing) <= tied, (missing, unexpected)
    model.tie_weights()
    return model


def pooled(states):
    """The mean, the first and the last of the last hidden states [positions, hidden], each scaled to length 1."""
    vectors = {"mean": states.astype(np.float64).mean(0), "cls": states[0], "last": states[-1]}
    return {name: [round(float(x), 7) for x in v / np.linalg.norm(v)] for name, v in vectors.items()}


def main(folder):
    index = json.loads((folder / "cases.json").read_text())
    positions = index["positions"]
    out = {"positions": positions, "cases": {}}
    embeddings = {}
    for number, (name, case) in enumerate(index["cases"].items()):
        model = load(folder / f"{name}.gguf", case["options"])
        vocab = model.config.vocab_size
        tokens = np.random.default_rng(number).integers(0, vocab, positions)
        with torch.no_grad():
            logits = model(torch.tensor(tokens[None])).logits[0].numpy()
            embeddings[name] = pooled(model.model(torch.tensor(tokens[None])).last_hidden_state[0].numpy())
        assert logits.dtype == np.float32 and np.isfinite(logits).all()
        logits.astype("<f4").tofile(HERE / f"{name}.f32")
        out["cases"][name] = {"sha256": case["sha256"], "n_vocab": vocab, "tokens": tokens.tolist()}
        print(f"{name:22} rms {np.sqrt((logits**2).mean()):.3f}")
    (HERE / "index.json").write_text(json.dumps(out) + "\n")
    (HERE / "embeddings.json").write_text(json.dumps(embeddings) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
