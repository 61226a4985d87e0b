/**
 * Every option, declared once: its flag, environment variable, default, meaning and check. The CLI and the server read the same
 * declarations, so a flag and its documentation cannot part.
 */

import { z } from "zod"
import {
  apiKey,
  byteSize,
  decimal,
  duration,
  flag,
  LOG_LEVELS,
  logitBias,
  nonEmpty,
  origin,
  seed,
  wholeNumber,
  wholeNumbers,
} from "./option-values.ts"

/** A setting that a flag or an environment variable gives. */
export interface OptionSpec {
  /** Kebab-case, without dashes. */
  name: string
  /** What the value is, for help: `--ctx-size <tokens>`. Flags without a value have none. */
  value?: string
  short?: string
  env?: string
  description: string
  /** Reads the text of a flag or variable; a flag without a value gives `true`. The error messages say what is allowed. */
  schema: z.ZodType
  /** Given by repeating the flag; the values become an array. */
  repeatable?: boolean
  /** No message repeats what was given. */
  secret?: boolean
  /** Shown in help as the default. `undefined`: the description says what happens without it. */
  default?: string | number | boolean
}

const option = <const Spec extends OptionSpec>(spec: Spec): Spec => spec

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
    default: 0.7,
    description: "0 always takes the likeliest token",
    schema: decimal(0, 5),
  }),
  topK: option({
    name: "top-k",
    value: "k",
    default: 40,
    description: "keep the k likeliest tokens; 0: all",
    schema: wholeNumber(0, 2 ** 31 - 1),
  }),
  topP: option({
    name: "top-p",
    value: "p",
    default: 0.95,
    description: "keep the likeliest tokens up to this probability; 1: all",
    schema: decimal(0, 1),
  }),
  minP: option({
    name: "min-p",
    value: "p",
    default: 0.05,
    description: "drop tokens less likely than this share of the likeliest; 0: none",
    schema: decimal(0, 1),
  }),
  repeatPenalty: option({
    name: "repeat-penalty",
    value: "x",
    default: 1,
    description: "divide the logits of tokens already seen; 1: off",
    schema: decimal(0.01, 100),
  }),
  frequencyPenalty: option({
    name: "frequency-penalty",
    value: "x",
    default: 0,
    description: "subtract for every time a token was generated",
    schema: decimal(-2, 2),
  }),
  presencePenalty: option({
    name: "presence-penalty",
    value: "x",
    default: 0,
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

  host: option({
    name: "host",
    value: "address",
    env: "ROCMFORGE_HOST",
    default: "127.0.0.1",
    description: "address to listen on; 0.0.0.0 for every interface",
    schema: nonEmpty,
  }),
  port: option({
    name: "port",
    value: "n",
    env: "ROCMFORGE_PORT",
    default: 8080,
    description: "port to listen on; 0 for any free one",
    schema: wholeNumber(0, 65535),
  }),
  apiKey: option({
    name: "api-key",
    value: "key",
    env: "ROCMFORGE_API_KEY",
    repeatable: true,
    secret: true,
    description:
      "a key that opens every route; without one only /health and /ready answer (repeatable; other users of this machine see the arguments of a process: prefer --api-key-file or the variable)",
    schema: apiKey,
  }),
  apiKeyFile: option({
    name: "api-key-file",
    value: "file",
    env: "ROCMFORGE_API_KEY_FILE",
    description:
      "a file of such keys, one a line, as KEY or NAME:KEY (the name stands for it in the log); # begins a comment",
    schema: nonEmpty,
  }),
  corsOrigin: option({
    name: "cors-origin",
    value: "origin",
    repeatable: true,
    description:
      "an origin whose pages may use the server from a browser, as https://chat.example; * for all (repeatable)",
    schema: origin,
  }),
  tlsCert: option({
    name: "tls-cert",
    value: "file",
    env: "ROCMFORGE_TLS_CERT",
    description: "serve HTTPS with this certificate, and those behind it that vouch for it (PEM; with --tls-key)",
    schema: nonEmpty,
  }),
  tlsKey: option({
    name: "tls-key",
    value: "file",
    env: "ROCMFORGE_TLS_KEY",
    description: "the private key of --tls-cert (PEM, not encrypted)",
    schema: nonEmpty,
  }),
  logFormat: option({
    name: "log-format",
    value: "format",
    env: "ROCMFORGE_LOG_FORMAT",
    default: "text",
    description: "text, or json: all of standard error is one JSON object a line",
    schema: z.enum(["text", "json"], { error: "must be text or json" }),
  }),
  logLevel: option({
    name: "log-level",
    value: "level",
    env: "ROCMFORGE_LOG_LEVEL",
    default: "info",
    description:
      "info: a line for every request; debug: those of monitors too; warn or error: only what goes wrong; silent: nothing. Prompts, answers and keys are never logged",
    schema: z.enum(LOG_LEVELS, { error: `must be ${LOG_LEVELS.join(", ")}` }),
  }),

  maxSeqs: option({
    name: "max-seqs",
    value: "n",
    env: "ROCMFORGE_MAX_SEQS",
    default: 32,
    description: "requests that are generated together",
    schema: wholeNumber(1, 256),
  }),
  maxQueue: option({
    name: "max-queue",
    value: "n",
    default: 512,
    description: "requests that wait for their turn at most; one more is told to try again (429)",
    schema: wholeNumber(1, 1_000_000),
  }),
  batchSize: option({
    name: "batch-size",
    value: "tokens",
    description: "tokens of one step at most, over all requests (default: 128 on the CPU, 2048 on a GPU)",
    schema: wholeNumber(1, 2 ** 20),
  }),
  chunkSize: option({
    name: "chunk-size",
    value: "tokens",
    description:
      "prompt tokens of one step at most while others generate: less is smoother for them, more is faster for the prompt (default: 16 on the CPU, 512 on a GPU)",
    schema: wholeNumber(1, 2 ** 20),
  }),
  prefixCache: option({
    name: "no-prefix-cache",
    description: "compute every prompt anew, also where an earlier one began alike",
    schema: flag,
    default: true,
  }),
  cacheByKey: option({
    name: "cache-by-key",
    description:
      "requests find each other's prompts in the cache only under the same API key, so that nobody can time what others ask",
    schema: flag,
    default: false,
  }),
  inProcess: option({
    name: "in-process",
    description: "run the engines in the server's own process: nothing restarts them when they fail",
    schema: flag,
    default: false,
  }),
  watchdog: option({
    name: "watchdog",
    value: "time",
    default: 120,
    description: "an engine that makes no step for so long is taken for hung, and started again",
    schema: duration().refine((seconds) => seconds >= 1, { error: "must be at least 1" }),
  }),
  deadline: option({
    name: "deadline",
    value: "time",
    description: "end a request that takes longer, in seconds, or as 5m (default: as long as it takes)",
    schema: duration().refine((seconds) => seconds > 0, { error: "must be more than 0" }),
  }),
  keepAlive: option({
    name: "keep-alive",
    value: "time",
    description:
      "how long a model stays in memory without a request: seconds, or 5m, 1h; -1: for ever (default: for ever for one model, 5m for several)",
    schema: duration(true),
  }),
  memoryBudget: option({
    name: "memory-budget",
    value: "size",
    description:
      "what the weights and K/V caches of all models may take together, as 12G; idle models make room for others (default: what the device has free)",
    schema: byteSize,
  }),
  preload: option({
    name: "preload",
    description: "load every model at the start, not only the first",
    schema: flag,
    default: false,
  }),
  drainTimeout: option({
    name: "drain-timeout",
    value: "time",
    default: 30,
    description: "how long requests that run may go on after SIGTERM or Ctrl-C",
    schema: duration(),
  }),

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
