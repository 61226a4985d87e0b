"""The two peers that we compare our results with: llama.cpp and transformers.

Dependencies (PyPI): llama-cpp-python, torch, transformers, accelerate, gguf, numpy.

Both classes have the same three methods:
  tokenize(text)          -> list[int]; special tokens in the text are parsed, nothing is added
  logits(ids)             -> float32 [len(ids), n_vocab]; row i is the prediction after ids[: i + 1]
  greedy(ids, n)          -> (n token ids, n margins); margin = best logit - second best; end-of-text does not stop it
"""

from __future__ import annotations

import ctypes
import os

import numpy as np


class LlamaCpp:
    """llama.cpp through its C API: one sequence, f16 K/V cache, the prompt as one batch."""

    name = "llama.cpp"

    def __init__(self, path: str, n_threads: int = 2, n_ctx: int = 1024, flash_attn: bool = True, n_batch: int = 1024):
        import llama_cpp
        from llama_cpp import llama_cpp as c

        self.c = c
        self.version = f"llama-cpp-python {llama_cpp.__version__}"
        self.n_batch = n_batch
        self._quiet = c.llama_log_callback(lambda level, text, data: None)
        c.llama_log_set(self._quiet, None)
        c.llama_backend_init()
        model_params = c.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = c.llama_model_load_from_file(os.fsencode(path), model_params)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self.vocab = c.llama_model_get_vocab(self.model)
        self.n_vocab = c.llama_vocab_n_tokens(self.vocab)
        params = c.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = n_batch
        params.n_ubatch = n_batch
        params.n_threads = n_threads
        params.n_threads_batch = n_threads
        params.flash_attn_type = 1 if flash_attn else 0
        self.context = c.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("llama.cpp cannot open a context")
        self.batch = c.llama_batch_init(n_batch, 0, 1)

    def close(self) -> None:
        self.c.llama_batch_free(self.batch)
        self.c.llama_free(self.context)
        self.c.llama_model_free(self.model)

    def system_info(self) -> str:
        return self.c.llama_print_system_info().decode()

    def tokenize(self, text: str) -> list[int]:
        raw = text.encode()
        ids = (ctypes.c_int32 * (len(raw) + 8))()
        n = self.c.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), False, True)
        if n < 0:
            raise RuntimeError("llama.cpp cannot tokenize the text")
        return list(ids[:n])

    def reset(self) -> None:
        self.c.llama_memory_clear(self.c.llama_get_memory(self.context), True)

    def decode(self, ids: list[int], start: int, all_logits: bool = False) -> None:
        """Runs ids at positions start … as one batch."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i] = token
            batch.pos[i] = start + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = 1 if all_logits or i == len(ids) - 1 else 0
        status = self.c.llama_decode(self.context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")

    def last_logits(self) -> np.ndarray:
        """The logits of the last row of the last decode, float32 [n_vocab]: a view that the next decode overwrites."""
        return np.ctypeslib.as_array(self.c.llama_get_logits_ith(self.context, -1), shape=(self.n_vocab,))

    def logits(self, ids: list[int]) -> np.ndarray:
        self.reset()
        self.decode(ids, 0, all_logits=True)
        flat = self.c.llama_get_logits(self.context)
        return np.ctypeslib.as_array(flat, shape=(len(ids), self.n_vocab)).copy()

    def greedy(self, ids: list[int], n: int) -> tuple[list[int], list[float]]:
        self.reset()
        self.decode(ids, 0)
        tokens, margins = [], []
        for i in range(n):
            token, margin = best(self.last_logits())
            tokens.append(token)
            margins.append(margin)
            self.decode([token], len(ids) + i)
        return tokens, margins


class Transformers:
    """transformers in float32 on the GGUF file's dequantized weights."""

    name = "transformers"

    def __init__(self, path: str, n_threads: int = 2):
        import torch
        import transformers

        self.torch = torch
        torch.set_num_threads(n_threads)
        self.version = f"transformers {transformers.__version__}"
        folder, file = os.path.split(os.path.abspath(path))
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
        self.model.eval()

    def logits(self, ids: list[int]) -> np.ndarray:
        with self.torch.no_grad():
            return self.model(self.torch.tensor([ids])).logits[0].float().numpy()

    def greedy(self, ids: list[int], n: int) -> tuple[list[int], list[float]]:
        torch = self.torch
        tokens, margins = [], []
        past, feed = None, torch.tensor([ids])
        with torch.no_grad():
            for _ in range(n):
                out = self.model(feed, past_key_values=past, use_cache=True)
                past = out.past_key_values
                token, margin = best(out.logits[0, -1].numpy())
                tokens.append(token)
                margins.append(margin)
                feed = torch.tensor([[token]])
        return tokens, margins


def best(logits: np.ndarray) -> tuple[int, float]:
    """The best token (of equal logits, the lowest id) and its margin over the second best."""
    token = int(np.argmax(logits))
    others = np.delete(logits, token)
    return token, float(logits[token] - others.max())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """float64 log-probabilities over the last axis."""
    x = logits.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def kl_divergence(expected: np.ndarray, found: np.ndarray) -> float:
    """Mean over positions of KL(expected || found), in nats; both are log-probabilities [n, n_vocab]."""
    return float((np.exp(expected) * (expected - found)).sum(-1).mean())


def perplexity(logprobs: np.ndarray, targets: list[int]) -> float:
    return float(np.exp(-logprobs[np.arange(len(targets)), targets].mean()))
