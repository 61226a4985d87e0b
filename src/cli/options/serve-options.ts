/** The options of `serve`: where it listens, who may use it, and how it runs its models. */

import { z } from "zod"
import {
  apiKey,
  byteSize,
  duration,
  feature,
  flag,
  jsonObject,
  LOG_LEVELS,
  modelAlias,
  nonEmpty,
  origin,
  wholeNumber,
} from "./schemas.ts"
import { option } from "./spec.ts"

export const SERVE_OPTIONS = {
  host: option({
    name: "host",
    value: "address",
    env: "ROCMFORGE_HOST",
    default: "127.0.0.1",
    description: "address to listen on; 0.0.0.0 for all interfaces",
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
      "API key that clients must send; requests without it reach only /health and /ready (repeatable; other users of this machine can see command lines, so prefer --api-key-file or the variable)",
    schema: apiKey,
  }),
  apiKeyFile: option({
    name: "api-key-file",
    value: "file",
    env: "ROCMFORGE_API_KEY_FILE",
    description: "file with API keys, one per line, as KEY or NAME:KEY (the log shows the name); # begins a comment",
    schema: nonEmpty,
  }),
  corsOrigin: option({
    name: "cors-origin",
    value: "origin",
    repeatable: true,
    description:
      "origin whose web pages may use the server, such as https://chat.example; localhost for pages from this machine, * for all origins (repeatable)",
    schema: origin,
  }),
  tlsCert: option({
    name: "tls-cert",
    value: "file",
    env: "ROCMFORGE_TLS_CERT",
    description: "certificate for HTTPS, with its chain after it (PEM; needs --tls-key)",
    schema: nonEmpty,
  }),
  tlsKey: option({
    name: "tls-key",
    value: "file",
    env: "ROCMFORGE_TLS_KEY",
    description: "private key of --tls-cert (PEM, not encrypted)",
    schema: nonEmpty,
  }),
  logFormat: option({
    name: "log-format",
    value: "format",
    env: "ROCMFORGE_LOG_FORMAT",
    default: "text",
    description: "text, or json: one JSON object per line for everything on standard error",
    schema: z.enum(["text", "json"], { error: "must be text or json" }),
  }),
  logLevel: option({
    name: "log-level",
    value: "level",
    env: "ROCMFORGE_LOG_LEVEL",
    default: "info",
    description:
      "info: one line per request; debug: also requests of monitors; warn or error: only problems; silent: nothing. Prompts, answers and keys are never logged",
    schema: z.enum(LOG_LEVELS, { error: `must be ${LOG_LEVELS.join(", ")}` }),
  }),

  maxSeqs: option({
    name: "max-seqs",
    value: "n",
    env: "ROCMFORGE_MAX_SEQS",
    default: 32,
    description: "most sequences to generate at the same time",
    schema: wholeNumber(1, 256),
  }),
  maxQueue: option({
    name: "max-queue",
    value: "n",
    default: 512,
    description: "most requests to keep waiting; further requests are answered with status 429",
    schema: wholeNumber(1, 1_000_000),
  }),
  batchSize: option({
    name: "batch-size",
    value: "tokens",
    description: "most tokens in one step, over all requests (default: 128 on the CPU, 2048 on a GPU)",
    schema: wholeNumber(1, 2 ** 20),
  }),
  chunkSize: option({
    name: "chunk-size",
    value: "tokens",
    description:
      "most prompt tokens in one step while other requests generate: fewer keep their streams smooth, more process the prompt faster (default: 16 on the CPU, 512 on a GPU)",
    schema: wholeNumber(1, 2 ** 20),
  }),
  prefixCache: option({
    name: "no-prefix-cache",
    description: "compute every prompt in full instead of reusing the beginning it shares with an earlier one",
    schema: flag,
    default: true,
  }),
  cacheByKey: option({
    name: "cache-by-key",
    description:
      "share cached prompts only between requests with the same API key, so that response times reveal nothing about other users' prompts",
    schema: flag,
    default: false,
  }),
  inProcess: option({
    name: "in-process",
    description: "run the engines in the server's process; a failed engine is then not restarted",
    schema: flag,
    default: false,
  }),
  watchdog: option({
    name: "watchdog",
    value: "time",
    default: 120,
    description: "restart an engine that completes no step for this time",
    schema: duration().refine((seconds) => seconds >= 1, { error: "must be at least 1" }),
  }),
  deadline: option({
    name: "deadline",
    value: "time",
    description: "end requests that take longer than this: seconds, or a time such as 5m (default: no limit)",
    schema: duration().refine((seconds) => seconds > 0, { error: "must be more than 0" }),
  }),
  responsesDb: option({
    name: "responses-db",
    value: "file",
    env: "ROCMFORGE_RESPONSES_DB",
    description:
      "SQLite file for the responses that /v1/responses stores (default: kept in memory until the server stops)",
    schema: nonEmpty,
  }),
  keepAlive: option({
    name: "keep-alive",
    value: "time",
    description:
      "unload a model after this time without a request: seconds, or a time such as 5m or 1h; -1: never (default: never for one model, 5m for several)",
    schema: duration(true),
  }),
  memoryBudget: option({
    name: "memory-budget",
    value: "size",
    description:
      "memory for the weights and K/V caches of all models, such as 12G; idle models are unloaded to make room (default: the free memory of the device)",
    schema: byteSize,
  }),
  maxModels: option({
    name: "max-models",
    value: "n",
    description:
      "models in memory at once; a request for one more waits for an idle model, which is unloaded (default: as many as fit)",
    schema: wholeNumber(1, 1000),
  }),
  autoload: option({
    name: "no-autoload",
    description: "load models only when POST /models/load asks for them; requests for others are refused",
    schema: flag,
    default: true,
  }),
  preload: option({
    name: "preload",
    description: "load all models at the start, not only the first",
    schema: flag,
    default: false,
  }),
  servedModelName: option({
    name: "served-model-name",
    value: "name",
    repeatable: true,
    description:
      "name of the model in the API, instead of that of its file (repeatable: the first is in answers, requests can use all of them; for several models use --alias)",
    schema: nonEmpty,
  }),
  alias: option({
    name: "alias",
    value: "name=model",
    repeatable: true,
    description: "further name by which requests can use a model, such as gpt-4o=smollm2-135m (repeatable)",
    schema: modelAlias,
  }),
  tag: option({
    name: "tag",
    value: "word",
    repeatable: true,
    description: "word that describes the model in llama-server's list of models, GET /models (repeatable)",
    schema: nonEmpty,
  }),
  anyModel: option({
    name: "any-model",
    description: "serve requests with an unknown model name with the first model, instead of refusing them",
    schema: flag,
    default: false,
  }),
  disable: option({
    name: "disable",
    value: "feature",
    repeatable: true,
    description:
      "leave a part of the server out: slots (/slots), metrics (/metrics) or pages (the status page; repeatable)",
    schema: feature,
  }),
  llamaDefaults: option({
    name: "llama-defaults",
    value: "json",
    description:
      'fields of /completion, /infill and /chat/completions, which are llama-server\'s own routes, for requests that do not give them, such as {"temperature": 0, "n_predict": 128}',
    schema: jsonObject,
  }),
  slotSavePath: option({
    name: "slot-save-path",
    value: "folder",
    description:
      "let requests save the cached prompts of slots as files in this folder, and restore them (POST /slots/ID?action=save); each slot of llama-server's own completions then has a prefix cache of its own",
    schema: nonEmpty,
  }),
  allowPull: option({
    name: "allow-pull",
    description:
      "let requests change which models are served (Ollama's /api/pull, /api/copy, /api/create and /api/delete); pulled models are downloaded into the store",
    schema: flag,
    default: false,
  }),
  strict: option({
    name: "strict",
    description:
      "refuse requests with fields that the server does not know, instead of ignoring those fields (--log-level debug names them)",
    schema: flag,
    default: false,
  }),
  maxBody: option({
    name: "max-body",
    value: "size",
    description: "largest request body, such as 8M; larger ones are answered with status 413 (default: 32M)",
    schema: byteSize.refine((bytes) => bytes >= 1024, { error: "must be at least 1K" }),
  }),
  drainTimeout: option({
    name: "drain-timeout",
    value: "time",
    default: 30,
    description: "time that running requests have to end after SIGTERM or Ctrl-C",
    schema: duration(),
  }),
} as const
