/** llama-server's routes that tell about the server and its models: `/props`, `/slots`, `/lora-adapters` and `/models`. */

import { Elysia } from "elysia"
import { z } from "zod"
import { version } from "../../../../package.json"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { ApiError, answerErrors } from "../../http/errors.ts"
import { modelName, openObject } from "../../http/lenient.ts"
import { endpoint } from "../../http/openapi.ts"
import { currentRequest } from "../../observe/record.ts"
import type { PoolEntry } from "../../pool/entry.ts"
import type { ModelPool } from "../../pool/pool.ts"
import type { ModelState } from "../../pool/status.ts"
import { statusOf } from "../../pool/status.ts"
import { listReadable } from "../ollama/describe.ts"
import { llamaError, llamaErrorSchema } from "./errors.ts"
import { completionRequest, type GenerationFields } from "./schema.ts"
import { settingsOf } from "./settings.ts"

/** Programs of llama-server read its build's number after the `b`. */
const BUILD = `b0-rocmforge-${version}`

const slot = z.object({
  id: z.int(),
  id_task: z.int(),
  n_ctx: z.int().describe("Tokens that the context of each request holds; 0 while the model is not in memory."),
  speculative: z.boolean(),
  is_processing: z.boolean(),
})

const props = z.object({
  role: z.enum(["model", "router"]).describe("router: the server has several models."),
  max_instances: z.int().describe("Models in memory at once; 0: as many as fit."),
  models_autoload: z.boolean().describe("Requests load the models that they need."),
  default_generation_settings: slot.extend({ params: z.record(z.string(), z.unknown()) }),
  total_slots: z.int().describe("Requests that are computed together; 0 while the model is not in memory."),
  model_alias: z.string(),
  model_path: z.string(),
  chat_template: z.string(),
  chat_template_caps: z.object({}),
  bos_token: z.string(),
  eos_token: z.string(),
  modalities: z.object({ vision: z.literal(false), audio: z.literal(false) }),
  build_info: z.string(),
  is_sleeping: z.boolean().describe("The model is not in memory; the next request loads it."),
})

const modelEntry = z.object({
  id: z.string(),
  aliases: z.array(z.string()).describe("All names of the model."),
  tags: z.array(z.string()).describe("What --tag gives."),
  object: z.literal("model"),
  created: z.int(),
  owned_by: z.literal("rocmforge"),
  path: z.string(),
  status: z.object({ value: z.enum(["loaded", "loading", "unloaded"]), failed: z.boolean() }),
  meta: z
    .object({ n_vocab: z.int(), n_ctx: z.int(), n_ctx_train: z.int(), n_embd: z.int(), size: z.int() })
    .nullable()
    .describe("null while the model is not in memory."),
})
const modelList = z.object({
  object: z.literal("list"),
  data: z.array(modelEntry),
  models: z.array(z.looseObject({ name: z.string() })).describe("The same models as Ollama's API lists them."),
})

const loadRequest = openObject("", { model: modelName })
const loaded = z.object({ success: z.literal(true) })
const adapters = z.array(z.object({ id: z.int(), path: z.string(), scale: z.number() }))

const LOADED: Readonly<Record<ModelState, "loaded" | "loading" | "unloaded">> = {
  unloaded: "unloaded",
  unloading: "unloaded",
  failed: "unloaded",
  loading: "loading",
  restarting: "loading",
  ready: "loaded",
  draining: "loaded",
}

export function llamaInfoRoutes(state: ServerState) {
  const { models, llama, startedAt } = state
  const parse = [({ request }: { request: Request }) => readJson(request, state.maxBodyBytes), "json"] as const
  const doc = { tag: "llama-server", failure: llamaErrorSchema }
  const created = Math.floor(startedAt.getTime() / 1000)
  const load = {
    parse: [...parse],
    body: requestBody(loadRequest, { model: exampleModel(state) }),
    response: { 200: responseBody(loaded) },
  }
  const unknownModel = { 404: "No such model." }
  return new Elysia()
    .onError(answerErrors(llamaError))
    .get("/props", ({ query }) => describeServer(models, models.get(query.model), llama.defaults), {
      response: { 200: responseBody(props) },
      detail: endpoint({ ...doc, summary: "The server's properties", response: props, errors: unknownModel }),
    })
    .post("/props", unsupported("This server's properties cannot be changed while it runs; restart it"), hidden)
    .get("/slots", ({ query }) => slotsOf(models.get(query.model), llama.hidden.has("slots"), query.fail_on_no_slot), {
      response: { 200: responseBody(z.array(slot)) },
      detail: endpoint({
        ...doc,
        summary: "How many requests are computed",
        description:
          "There are no slots here: as many are shown as requests are computed together, the busy ones first.",
        response: z.array(slot),
        errors: {
          ...unknownModel,
          501: "The server was started without this route.",
          503: "With fail_on_no_slot: none is free.",
        },
      }),
    })
    .get("/lora-adapters", () => [], {
      response: { 200: responseBody(adapters) },
      detail: endpoint({ ...doc, summary: "LoRA adapters: none", response: adapters, errors: {} }),
    })
    .post("/lora-adapters", setAdapters, { parse: [...parse], ...hidden })
    .get(
      "/models",
      async () => ({
        object: "list" as const,
        data: models.models.flatMap((entry) =>
          listedNames(models, entry).map((id) => describeModel(entry, id, created)),
        ),
        models: await listReadable(models.models),
      }),
      {
        response: { 200: responseBody(modelList) },
        detail: endpoint({ ...doc, summary: "The models served", response: modelList, errors: {} }),
      },
    )
    .post(
      "/models/load",
      ({ body }) => {
        const { name } = models.get(body.model)
        // The answer does not wait: clients look for the state in the list, and the reason of a failure is in the log.
        const log = currentRequest()?.observers.log
        models.load(name).catch((err: unknown) => log?.warn({ model: name, err }, "a model could not be loaded"))
        return { success: true as const }
      },
      { ...load, detail: endpoint({ ...doc, summary: "Load a model", response: loaded, errors: BODY_ERRORS }) },
    )
    .post(
      "/models/unload",
      ({ body }) => {
        models.keepAlive(models.get(body.model), 0)
        return { success: true as const }
      },
      {
        ...load,
        detail: endpoint({ ...doc, summary: "Unload a model when it is idle", response: loaded, errors: BODY_ERRORS }),
      },
    )
}

const BODY_ERRORS = {
  400: "The request is not valid.",
  404: "No such model.",
  413: "The body is too large.",
  415: "The body is not JSON.",
}

const hidden = { detail: { hide: true } }

const unsupported = (message: string) => () => {
  throw new ApiError(501, "invalid_request_error", `${message}.`, null, "not_implemented")
}

function describeServer(
  { models, maxModels, autoload }: ModelPool,
  { name, spec, state, model }: PoolEntry,
  defaults: Readonly<Record<string, unknown>>,
) {
  const { tokenizer, chatTemplate } = model ?? {}
  const piece = (id: number | undefined) => (id === undefined ? "" : (tokenizer?.piece(id) ?? ""))
  return {
    role: models.length > 1 ? ("router" as const) : ("model" as const),
    max_instances: Number.isFinite(maxModels) ? maxModels : 0,
    models_autoload: autoload,
    default_generation_settings: {
      ...slotOf(0, model?.engine.limits.contextLength ?? 0, false),
      params: settingsOf(completionRequest.parse({ prompt: "", ...defaults }) as GenerationFields),
    },
    total_slots: model?.engine.limits.maxSeqs ?? 0,
    model_alias: name,
    model_path: spec.path,
    chat_template: chatTemplate?.source() ?? "",
    chat_template_caps: {},
    bos_token: piece(tokenizer?.bosId),
    eos_token: piece(tokenizer?.eosId),
    modalities: { vision: false as const, audio: false as const },
    build_info: BUILD,
    is_sleeping: state === "unloaded" || state === "unloading",
  }
}

const slotOf = (id: number, n_ctx: number, busy: boolean) => ({
  id,
  id_task: -1,
  n_ctx,
  speculative: false,
  is_processing: busy,
})

function slotsOf({ model }: PoolEntry, off: boolean, failOnNone: string | undefined) {
  if (off) unsupported("This server was started without /slots")()
  const { contextLength = 0, maxSeqs = 0 } = model?.engine.limits ?? {}
  const running = model?.engine.stats().running ?? 0
  if (model !== undefined && running >= maxSeqs && failOnNone !== undefined && failOnNone !== "0")
    throw new ApiError(503, "service_unavailable", "Every slot is in use.", null, "no_slot")
  return Array.from({ length: maxSeqs }, (_, id) => slotOf(id, contextLength, id < running))
}

/** Accepts an empty list, which is what there is. */
function setAdapters({ body }: { body: unknown }) {
  if (Array.isArray(body) && body.length === 0) return { success: true }
  throw new ApiError(400, "invalid_request_error", "This server has no LoRA adapters.", null, "unsupported_parameter")
}

/** The names under which a model is listed: its own, and where there are several models, all of them. */
const listedNames = ({ models }: ModelPool, { name, spec }: PoolEntry): string[] =>
  models.length > 1 ? [name, ...(spec.aliases ?? [])] : [name]

function describeModel(entry: PoolEntry, id: string, created: number): z.output<typeof modelEntry> {
  const { name, spec, model } = entry
  const { state } = statusOf(entry)
  return {
    id,
    aliases: [name, ...(spec.aliases ?? [])],
    tags: [...(spec.tags ?? [])],
    object: "model",
    created,
    owned_by: "rocmforge",
    path: spec.path,
    status: { value: LOADED[state], failed: state === "failed" },
    meta:
      model === undefined
        ? null
        : {
            n_vocab: model.config.nVocab,
            n_ctx: model.engine.limits.contextLength,
            n_ctx_train: model.config.contextLength,
            n_embd: model.config.hiddenSize,
            size: model.memory.weights,
          },
  }
}
