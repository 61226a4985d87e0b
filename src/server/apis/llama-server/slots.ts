/**
 * llama-server's slots, for a server that was given a folder for their files: what the completions with an `id_slot` left in the prefix
 * cache, and `POST /slots/{id}?action=save|restore|erase`. The engine has no slots; here each one is a salt of the prefix cache.
 */

import { stat } from "node:fs/promises"
import { join } from "node:path"
import { Elysia } from "elysia"
import { z } from "zod"
import { type Engine, GREEDY, type LoadedModel } from "../../../engine/types.ts"
import { EngineError } from "../../../errors.ts"
import { readJson } from "../../http/body.ts"
import type { ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { ApiError, answerErrors, invalidRequest } from "../../http/errors.ts"
import { type JobContext, runWhole } from "../../http/job.ts"
import { modelName, openObject } from "../../http/lenient.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { inPath, inQuery, readQuery } from "../../http/query.ts"
import { llamaError, llamaErrorSchema } from "./errors.ts"
import { readSlotFile, SlotFileError, writeSlotFile } from "./slot-file.ts"

/** A slot of one model. */
export class Slot {
  /** Tokens of the last prompt and answer whose keys and values were computed. */
  tokens: Int32Array = new Int32Array()
  #salt: string = crypto.randomUUID()

  /** Nothing that was cached for the slot is found from now on. */
  erase(): void {
    this.tokens = new Int32Array()
    this.#salt = crypto.randomUUID()
  }

  /** A request's place in the cache, apart from that of all other slots. */
  place<Context extends Pick<JobContext, "queue">>(context: Context): Context {
    const { queue } = context
    return { ...context, queue: { ...queue, cacheSalt: `${queue.cacheSalt ?? ""}/${this.#salt}` } }
  }

  /** @param answer The last of its tokens was chosen, but not computed. */
  ended(prompt: Int32Array, answer: readonly number[]): void {
    this.tokens = Int32Array.of(...prompt, ...answer.slice(0, -1))
  }
}

/** The slots of all models in memory. */
export class Slots {
  readonly #slots = new WeakMap<LoadedModel, Slot[]>()

  /** @param folder For their files; `undefined`: slots are neither kept apart nor saved. */
  constructor(readonly folder: string | undefined) {}

  /** `undefined` without a folder, and for a number that is no slot's. */
  of(model: LoadedModel, id: number): Slot | undefined {
    if (this.folder === undefined) return undefined
    let slots = this.#slots.get(model)
    if (slots === undefined) {
      slots = Array.from({ length: model.engine.limits.maxSeqs }, () => new Slot())
      this.#slots.set(model, slots)
    }
    return slots[id]
  }
}

const slotQuery = z.object({ action: z.enum(["save", "restore", "erase"]), model: z.string().optional() })
const slotRequest = openObject("", {
  model: modelName,
  filename: z
    .string()
    .max(200)
    .regex(/^[\w-][\w.-]*$/, { error: "expected letters, digits, '.', '_' and '-' alone" })
    .optional()
    .describe("The file's name in the folder of --slot-save-path. Needed to save and to restore."),
})
const n = z.int().min(0)
const ms = z.number().min(0)
const slotResponse = z.object({
  id_slot: n,
  filename: z.string().optional(),
  n_saved: n.optional().describe("Tokens in the file."),
  n_written: n.optional().describe("Bytes."),
  n_restored: n.optional().describe("Tokens that were computed from the file's."),
  n_read: n.optional().describe("Bytes."),
  n_erased: n.optional().describe("Tokens."),
  timings: z.object({ save_ms: ms.optional(), restore_ms: ms.optional() }).optional(),
})
type SlotAnswer = z.output<typeof slotResponse>

export function slotRoutes(state: ServerState & { slots: Slots }) {
  const { slots } = state
  const readBody = ({ request }: { request: Request }) =>
    request.headers.has("content-type") ? readJson(request, state.maxBodyBytes) : {}
  return new Elysia().onError(answerErrors(llamaError)).post(
    "/slots/:id",
    async ({ params, body, request, server }): Promise<SlotAnswer> => {
      const { folder } = slots
      if (folder === undefined)
        throw new ApiError(
          501,
          "invalid_request_error",
          "This server does not save slots; start it with --slot-save-path.",
          null,
          "not_implemented",
        )
      const { action, model: name } = readQuery(request, slotQuery)
      const options = { model: body.model ?? name, idPrefix: "slot" }
      return await runWhole(state, options, { request, server }, async (model, context) => {
        const id = /^\d{1,9}$/.test(params.id) ? Number(params.id) : -1
        const slot = slots.of(model, id)
        if (slot === undefined) throw invalidRequest(`There is no slot '${params.id}'.`, "id", "invalid_value")
        if (action === "erase") {
          const n_erased = slot.tokens.length
          slot.erase()
          return { id_slot: id, n_erased }
        }
        const { filename } = body
        if (filename === undefined) throw invalidRequest("'filename': name the file.", "filename", "missing_field")
        const act = action === "save" ? save : restore
        return { id_slot: id, filename, ...(await act(slot, join(folder, filename), model, context)) }
      })
    },
    {
      parse: [readBody, "json"],
      body: requestBody(slotRequest, { filename: "slot.bin" }),
      response: { 200: responseBody(slotResponse) },
      detail: {
        ...endpoint({
          tag: "llama-server",
          failure: llamaErrorSchema,
          summary: "Save, restore or erase the cached prompt of a slot",
          description:
            "A slot is what the last `/completion` or `/infill` with its `id_slot` left in the prefix cache. Its file has the tokens; " +
            "restoring computes them again.",
          response: slotResponse,
          errors: {
            413: GENERATION_ERRORS[413],
            415: GENERATION_ERRORS[415],
            400: "The request is not valid, or the file is not one of a slot.",
            404: "No such model.",
            501: "The server was started without --slot-save-path.",
          },
        }),
        parameters: [
          inPath("id", "The slot."),
          inQuery("action", "What to do.", { enum: ["save", "restore", "erase"] }),
        ],
      },
    },
  )
}

type Act = (slot: Slot, path: string, model: LoadedModel, context: JobContext) => Promise<Omit<SlotAnswer, "id_slot">>

const save: Act = async ({ tokens }, path) => {
  if (tokens.length === 0)
    throw invalidRequest("The slot is empty; send a completion with its id_slot first.", "id", "empty_slot")
  const start = performance.now()
  const n_written = await writeSlotFile(path, tokens)
  return { n_saved: tokens.length, n_written, timings: { save_ms: performance.now() - start } }
}

const restore: Act = async (slot, path, { engine }, context) => {
  const start = performance.now()
  const { contextLength, nVocab } = engine.limits
  // The engine computes a prompt, which leaves room for a token after it.
  const { tokens, bytes } = await load(path, contextLength - 1)
  if (tokens.some((token) => token < 0 || token >= nVocab))
    throw wrongFile("it has tokens that the model does not know")
  slot.erase()
  await compute(engine, tokens, slot.place(context))
  slot.tokens = tokens
  return { n_restored: tokens.length, n_read: bytes, timings: { restore_ms: performance.now() - start } }
}

async function load(path: string, most: number): ReturnType<typeof readSlotFile> {
  try {
    if (!(await stat(path)).isFile()) throw wrongFile("it is no file")
    return await readSlotFile(path, most)
  } catch (error) {
    if (error instanceof SlotFileError) throw wrongFile(error.message)
    const { code } = error as NodeJS.ErrnoException
    if (code === "ENOENT") throw wrongFile("there is no such file")
    throw code === "EACCES" ? wrongFile("the server may not read it") : error
  }
}

const wrongFile = (reason: string): ApiError =>
  invalidRequest(`'filename': ${reason}. Name a file that was saved with this model.`, "filename", "invalid_value")

/** Computes a prompt, so that it is in the prefix cache. @throws EngineError when the client leaves */
async function compute(engine: Engine, tokens: Int32Array, { id, queue, controller }: JobContext): Promise<void> {
  const request = { id, tokens, sampling: GREEDY, maxTokens: 1, stopTokens: new Set<number>(), ...queue }
  for await (const event of engine.generate(request, controller.signal))
    if (event.type === "end" && event.reason === "cancelled") throw new EngineError("the slot was not restored")
}
