/**
 * Every option, declared once: its flag, environment variable, default, meaning and check. The CLI and the server read the same
 * declarations, so a flag and its documentation cannot part.
 */

import { z } from "zod"
import { SAMPLING_DEFAULTS } from "../../engine/types.ts"
import { decimal, flag, logitBias, nonEmpty, seed, wholeNumber, wholeNumbers } from "./schemas.ts"
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
  gguf: option({ name: "gguf", value: "file", description: "another word for --model", schema: nonEmpty }),

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
    description: "CPU threads (default: one for each core this process may use)",
    schema: wholeNumber(1, 1024),
  }),
  ctxSize: option({
    name: "ctx-size",
    short: "c",
    value: "tokens",
    env: "ROCMFORGE_CTX_SIZE",
    description: "longest prompt and completion together (default: what the model was trained for, as memory allows)",
    schema: wholeNumber(1, 2 ** 24),
  }),
  kvType: option({
    name: "kv-type",
    value: "type",
    env: "ROCMFORGE_KV_TYPE",
    default: "f16",
    description: "number format of the K/V cache: f16, f32 or q8_0 (half the memory of f16, slightly less exact)",
    schema: z.enum(["f16", "f32", "q8_0"], { error: "must be f16, f32 or q8_0" }),
  }),

  dtype: option({
    name: "dtype",
    value: "type",
    env: "ROCMFORGE_DTYPE",
    default: "auto",
    description:
      "what a GPU's matrix units multiply in long prompts: auto (f16), f32, f16 or bf16; the CPU computes in f32",
    schema: z.enum(["auto", "f32", "f16", "bf16"], { error: "must be auto, f32, f16 or bf16" }),
  }),
  mmap: option({
    name: "no-mmap",
    description:
      "read the model file instead of mapping it (mapped uploads of large files hang on some integrated GPUs)",
    schema: flag,
    default: true,
  }),
  speculative: option({
    name: "speculative",
    value: "how",
    default: "off",
    description:
      "off, or ngram: guess tokens from text that came before, and verify several in one step; the output's distribution stays the same",
    schema: z.enum(["off", "ngram"], { error: "must be off or ngram" }),
  }),
  deterministic: option({
    name: "deterministic",
    description: "the same bits for a request whatever else runs; the CPU always works so, a GPU is slower with it",
    schema: flag,
    default: false,
  }),

  prompt: option({
    name: "prompt",
    value: "text",
    description: "the prompt; - reads standard input, as does leaving it out",
    schema: z.string(),
  }),
  file: option({ name: "file", short: "f", value: "path", description: "read the text from a file", schema: nonEmpty }),
  chat: option({
    name: "chat",
    description: "the prompt is a user's message: apply the model's chat template",
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
    description: "a chat template (Jinja) to use instead of the model's own (with --chat)",
    schema: nonEmpty,
  }),
  maxTokens: option({
    name: "max-tokens",
    value: "n",
    default: 256,
    description: "tokens to generate at most",
    schema: wholeNumber(1, 2 ** 24),
  }),
  temperature: option({
    name: "temperature",
    value: "t",
    default: SAMPLING_DEFAULTS.temperature,
    description: "0 always takes the likeliest token",
    schema: decimal(0, 5),
  }),
  topK: option({
    name: "top-k",
    value: "k",
    default: SAMPLING_DEFAULTS.topK,
    description: "keep the k likeliest tokens; 0: all",
    schema: wholeNumber(0, 2 ** 31 - 1),
  }),
  topP: option({
    name: "top-p",
    value: "p",
    default: SAMPLING_DEFAULTS.topP,
    description: "keep the likeliest tokens up to this probability; 1: all",
    schema: decimal(0, 1),
  }),
  minP: option({
    name: "min-p",
    value: "p",
    default: SAMPLING_DEFAULTS.minP,
    description: "drop tokens less likely than this share of the likeliest; 0: none",
    schema: decimal(0, 1),
  }),
  repeatPenalty: option({
    name: "repeat-penalty",
    value: "x",
    default: SAMPLING_DEFAULTS.repetitionPenalty,
    description: "divide the logits of tokens already seen; 1: off",
    schema: decimal(0.01, 100),
  }),
  frequencyPenalty: option({
    name: "frequency-penalty",
    value: "x",
    default: SAMPLING_DEFAULTS.frequencyPenalty,
    description: "subtract for every time a token was generated",
    schema: decimal(-2, 2),
  }),
  presencePenalty: option({
    name: "presence-penalty",
    value: "x",
    default: SAMPLING_DEFAULTS.presencePenalty,
    description: "subtract once for tokens that were generated",
    schema: decimal(-2, 2),
  }),
  logitBias: option({
    name: "logit-bias",
    value: "id=bias",
    repeatable: true,
    description: "add to a token's logit (repeatable)",
    schema: logitBias,
  }),
  seed: option({
    name: "seed",
    value: "n",
    description: "the same seed gives the same text (default: random)",
    schema: seed,
  }),
  stop: option({
    name: "stop",
    value: "text",
    repeatable: true,
    description: "end before this text (repeatable)",
    schema: nonEmpty,
  }),
  ignoreEos: option({
    name: "ignore-eos",
    description: "go on after the model's end token",
    schema: flag,
    default: false,
  }),
  logprobs: option({
    name: "logprobs",
    value: "n",
    description: "log-probability of every token and of n alternatives (with --json)",
    schema: wholeNumber(0, 20),
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
    description: "read, or show, control tokens such as <|im_end|> written in the text",
    schema: flag,
    default: false,
  }),
  bos: option({
    name: "bos",
    description: "put the beginning-of-sequence token in front",
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
    description: "tokens that each sequence holds before the decode measurement",
    schema: wholeNumber(1, 2 ** 20),
  }),
  concurrency: option({
    name: "concurrency",
    value: "list",
    description: "sequences that decode together, as 1,8,32 (default: 1)",
    schema: wholeNumbers(1, 1024),
  }),
  repetitions: option({
    name: "repetitions",
    short: "r",
    value: "n",
    default: 5,
    description: "measurements of each kind, after one warm-up",
    schema: wholeNumber(1, 1000),
  }),
} as const

export type OptionName = keyof typeof OPTIONS

/** The checked value of one option: an array when repeatable, absent (`undefined`) only without a default. */
export type OptionValue<Name extends OptionName> = (typeof OPTIONS)[Name] extends infer Spec extends OptionSpec
  ? Spec extends { repeatable: true }
    ? z.output<Spec["schema"]>[]
    : Spec extends { default: unknown }
      ? z.output<Spec["schema"]>
      : z.output<Spec["schema"]> | undefined
  : never

/** Variables that are no option: where models are kept and fetched, and where native libraries lie. */
export const VARIABLES: readonly { env: string; description: string }[] = [
  {
    env: "ROCMFORGE_HOME",
    description: "folder of downloaded models (default: XDG_CACHE_HOME/rocmforge, else ~/.cache/rocmforge)",
  },
  { env: "ROCMFORGE_LIBRARY_PATH", description: "folder of the native libraries (default: build/)" },
  { env: "ROCMFORGE_ALLOW_INTEGRATED", description: "1: use integrated GPUs too" },
  { env: "ROCMFORGE_GRAPHS", description: "0: launch every GPU kernel by itself, for debugging" },
  {
    env: "OTEL_EXPORTER_OTLP_ENDPOINT",
    description: "serve: where traces go, over HTTP (and OpenTelemetry's other OTEL_EXPORTER_OTLP_ variables)",
  },
  { env: "HF_ENDPOINT", description: "address of the Hugging Face hub, or of a mirror" },
  { env: "HF_TOKEN", description: "token for gated and private models" },
]
