/** The options of `serve` alone: where it listens, whom it lets in, and how it runs its models. */

import { z } from "zod"
import { apiKey, byteSize, duration, flag, LOG_LEVELS, nonEmpty, origin, wholeNumber } from "./schemas.ts"
import { option } from "./spec.ts"

export const SERVE_OPTIONS = {
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
  responsesDb: option({
    name: "responses-db",
    value: "file",
    env: "ROCMFORGE_RESPONSES_DB",
    description: "an SQLite file that keeps what /v1/responses stores (default: in memory, until the server ends)",
    schema: nonEmpty,
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
  maxBody: option({
    name: "max-body",
    value: "size",
    description: "the largest body that a request may have, as 8M; a larger one is refused with 413 (default: 32M)",
    schema: byteSize.refine((bytes) => bytes >= 1024, { error: "must be at least 1K" }),
  }),
  drainTimeout: option({
    name: "drain-timeout",
    value: "time",
    default: 30,
    description: "how long requests that run may go on after SIGTERM or Ctrl-C",
    schema: duration(),
  }),
} as const
