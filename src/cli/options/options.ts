/**
 * Every option, declared once: its flag, environment variable, default, description and schema. The parser, the help and the tests of
 * the documentation use the same declarations, so they cannot differ.
 */

import { z } from "zod"
import { SAMPLING_OPTIONS } from "./sampling-options.ts"
import { flag, nonEmpty, wholeNumber, wholeNumbers } from "./schemas.ts"
import { SERVE_OPTIONS } from "./serve-options.ts"
import { type OptionSpec, option } from "./spec.ts"

export type { OptionSpec } from "./spec.ts"

export const OPTIONS = {
  model: option({
    name: "model",
    value: "name",
    env: "ROCMFORGE_MODEL",
    description: "the model: a GGUF file, a known name, or hf:owner/repo/file.gguf",
    schema: nonEmpty,
  }),
  models: option({
    name: "model",
    value: "name",
    repeatable: true,
    description: "a model to serve (repeatable)",
    schema: nonEmpty,
  }),
  gguf: option({ name: "gguf", value: "file", description: "same as --model", schema: nonEmpty }),

  device: option({
    name: "device",
    value: "name",
    env: "ROCMFORGE_DEVICE",
    default: "auto",
    description: "auto, cpu, amd or nvidia; amd:1 is the second AMD GPU",
    schema: nonEmpty,
  }),
  threads: option({
    name: "threads",
    short: "t",
    value: "n",
    env: "ROCMFORGE_THREADS",
    description: "CPU threads (default: one per core available to this process)",
    schema: wholeNumber(1, 1024),
  }),
  ctxSize: option({
    name: "ctx-size",
    short: "c",
    value: "tokens",
    env: "ROCMFORGE_CTX_SIZE",
    description: "longest prompt plus completion (default: the model's training context, reduced if memory is short)",
    schema: wholeNumber(1, 2 ** 24),
  }),
  kvType: option({
    name: "kv-type",
    value: "type",
    env: "ROCMFORGE_KV_TYPE",
    default: "f16",
    description:
      "number format of the K/V cache: f16, f32 or q8_0 (about half the memory of f16, slightly less precise)",
    schema: z.enum(["f16", "f32", "q8_0"], { error: "must be f16, f32 or q8_0" }),
  }),

  dtype: option({
    name: "dtype",
    value: "type",
    env: "ROCMFORGE_DTYPE",
    default: "auto",
    description:
      "number format in which a GPU multiplies the matrices of long prompts: auto (f16), f32, f16 or bf16; the CPU computes in f32",
    schema: z.enum(["auto", "f32", "f16", "bf16"], { error: "must be auto, f32, f16 or bf16" }),
  }),
  mmap: option({
    name: "no-mmap",
    description:
      "read the model file instead of mapping it into memory (uploads of large mapped files hang on some integrated GPUs)",
    schema: flag,
    default: true,
  }),
  speculative: option({
    name: "speculative",
    value: "method",
    default: "off",
    description:
      "off, or ngram: predict tokens from the earlier text and verify several in one step, without changing the output's distribution",
    schema: z.enum(["off", "ngram"], { error: "must be off or ngram" }),
  }),
  deterministic: option({
    name: "deterministic",
    description: "a request gives the same bits whatever else runs; always true on the CPU, slower on a GPU",
    schema: flag,
    default: false,
  }),

  prompt: option({
    name: "prompt",
    value: "text",
    description: "the prompt; - or no prompt reads standard input",
    schema: z.string(),
  }),
  file: option({ name: "file", short: "f", value: "path", description: "read the text from a file", schema: nonEmpty }),
  chat: option({
    name: "chat",
    description: "treat the prompt as a user's message and apply the model's chat template",
    schema: flag,
    default: false,
  }),
  system: option({
    name: "system",
    value: "text",
    description: "the system message (with --chat)",
    schema: z.string(),
  }),
  chatTemplate: option({
    name: "chat-template",
    value: "file",
    description: "file with a chat template (Jinja) to use instead of the model's own (with --chat)",
    schema: nonEmpty,
  }),
  maxTokens: option({
    name: "max-tokens",
    value: "n",
    default: 256,
    description: "most tokens to generate",
    schema: wholeNumber(1, 2 ** 24),
  }),
  ...SAMPLING_OPTIONS,

  stop: option({
    name: "stop",
    value: "text",
    repeatable: true,
    description: "stop before this text (repeatable)",
    schema: nonEmpty,
  }),
  ignoreEos: option({
    name: "ignore-eos",
    description: "continue after the model's end token",
    schema: flag,
    default: false,
  }),
  json: option({ name: "json", description: "print JSON", schema: flag, default: false }),

  ...SERVE_OPTIONS,

  tensors: option({ name: "tensors", description: "list every tensor", schema: flag, default: false }),
  plan: option({
    name: "plan",
    description: "print the plan: the operations of one step",
    schema: flag,
    default: false,
  }),
  special: option({
    name: "special",
    description: "parse control tokens such as <|im_end|> in the text, or print them",
    schema: flag,
    default: false,
  }),
  bos: option({
    name: "bos",
    description: "put the beginning-of-sequence token first",
    schema: flag,
    default: false,
  }),

  benchPrompt: option({
    name: "n-prompt",
    short: "p",
    value: "list",
    description: "prompt lengths for the prefill measurement (default: 512)",
    schema: wholeNumbers(1, 2 ** 20),
  }),
  benchGenerate: option({
    name: "n-gen",
    short: "n",
    value: "tokens",
    default: 128,
    description: "tokens to generate for the decode measurement",
    schema: wholeNumber(1, 2 ** 20),
  }),
  benchContext: option({
    name: "context",
    value: "tokens",
    default: 1,
    description: "tokens already in each sequence when the decode measurement begins",
    schema: wholeNumber(1, 2 ** 20),
  }),
  concurrency: option({
    name: "concurrency",
    value: "list",
    description: "numbers of sequences to decode together, such as 1,8,32 (default: 1)",
    schema: wholeNumbers(1, 1024),
  }),
  repetitions: option({
    name: "repetitions",
    short: "r",
    value: "n",
    default: 5,
    description: "measurements of each kind, after one warm-up run",
    schema: wholeNumber(1, 1000),
  }),
} as const

export type OptionName = keyof typeof OPTIONS

/** The parsed value of an option: an array when it is repeatable, else `undefined` when it is not given and has no default. */
export type OptionValue<Name extends OptionName> = (typeof OPTIONS)[Name] extends infer Spec extends OptionSpec
  ? Spec extends { repeatable: true }
    ? z.output<Spec["schema"]>[]
    : Spec extends { default: unknown }
      ? z.output<Spec["schema"]>
      : z.output<Spec["schema"]> | undefined
  : never

/** Environment variables without a flag: where models are stored and downloaded from, and where the native libraries are. */
export const VARIABLES: readonly { env: string; description: string }[] = [
  {
    env: "ROCMFORGE_HOME",
    description: "folder for downloaded models (default: XDG_CACHE_HOME/rocmforge, else ~/.cache/rocmforge)",
  },
  { env: "ROCMFORGE_LIBRARY_PATH", description: "folder of the native libraries (default: build/)" },
  { env: "ROCMFORGE_ALLOW_INTEGRATED", description: "1: also use integrated GPUs" },
  { env: "ROCMFORGE_GRAPHS", description: "0: launch GPU kernels one by one instead of as graphs, for debugging" },
  {
    env: "OTEL_EXPORTER_OTLP_ENDPOINT",
    description: "serve: address to send traces to, over HTTP (other OTEL_EXPORTER_OTLP_ variables apply too)",
  },
  { env: "HF_ENDPOINT", description: "address of the Hugging Face hub or of a mirror" },
  { env: "HF_TOKEN", description: "token for gated and private models" },
]
