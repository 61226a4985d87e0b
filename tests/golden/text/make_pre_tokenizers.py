"""Writes pre-tokenizers.json: llama.cpp's ids of a few texts with the GPT-2 vocabulary, under the name of each pre-tokenizer.

Usage: make_pre_tokenizers.py GPT2_VOCAB.gguf   (needs llama-cpp-python, gguf)
The texts avoid combining marks and case changes within non-ASCII words, because llama.cpp only approximates the patterns of tekken
and gpt-4o there, and Han next to letters, because it only approximates the pattern of kimi-k2 there.
"""

import json
import os
import pathlib
import sys
import tempfile

import gguf
from llama_cpp import llama_cpp as llama

PRES = """default gpt-2 smollm falcon bloom viking deepseek-llm deepseek-coder deepseek-v3 llama-bpe dbrx qwen2 qwen35 minicpm5
seed-coder bailingmoe gpt-4o tekken kimi-k2""".split()

TEXTS = [
    "Hello, world! It's 2024; we'LL see what THEY'VE done, I'd say.",
    "camelCase HTTPServer XMLHttpRequest snake_case kebab-case",
    "  leading, double  and trailing  ",
    "tabs\t\tand\n\nnewlines\r\n \n  \n x",
    "def f(x):\n    return x**2  # square\n\n\nclass A:\n\tpass\n",
    "1 12 123 1234 12345 1,234,567.89 0xFF 3e-10",
    "http://example.com/a/b//c?d=e&f=g#h\n/\n//",
    "日本語のテスト。漢字かな、カタカナ！",
    "한국어 시험입니다 123",
    "Привет, мир! Ελληνικά καλημέρα",
    "naïve café déjà vu œuvre straße",
    "emoji 😀👍🎉 and symbols ©®™ €£¥ ½²",
    "nbsp\u00a0and\u3000wide\u2003spaces\u0085next",
    "`code` ~tilde~ |pipe| <tag attr=\"v\"> $var ^caret^",
    "\n\n\n\n",
    "   ",
    "a",
    "!!!???...,,,",
    "'s 't 're ' s",
    "ｆｕｌｌ　ｗｉｄｔｈ １２３",
]


def retagged(source: gguf.GGUFReader, pre: str, path: str) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    for key, field in source.fields.items():
        if not key.startswith("tokenizer."):
            continue
        value = pre if key == "tokenizer.ggml.pre" else field.contents()
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_key_value(key, value, gguf.GGUFValueType.ARRAY, field.types[-1])
        else:
            writer.add_key_value(key, value, field.types[0])
    for key in ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"):
        writer.add_uint32(f"llama.{key}", 64)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def ids(path: str) -> list[str]:
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(path.encode(), params)
    vocab = llama.llama_model_get_vocab(model)
    result = []
    for text in TEXTS:
        raw = text.encode()
        buffer = (llama.llama_token * (len(raw) + 8))()
        count = llama.llama_tokenize(vocab, raw, len(raw), buffer, len(buffer), False, False)
        result.append(" ".join(str(i) for i in buffer[:count]))
    llama.llama_model_free(model)
    return result


llama.llama_backend_init()
reader = gguf.GGUFReader(sys.argv[1])
out = {}
for name in PRES:
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "vocab.gguf")
        retagged(reader, name, target)
        out[name] = ids(target)
target = pathlib.Path(__file__).with_name("pre-tokenizers.json")
target.write_text(json.dumps({"texts": TEXTS, "ids": out}, ensure_ascii=True, indent=0) + "\n")
