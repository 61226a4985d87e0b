import type { LoadedModel } from "../engine/load.ts"
import { ApiError } from "./errors.ts"
import type { ModelBody } from "./schemas/service.ts"

/** What every route reads. The models belong to whoever loaded them; the server never closes one. */
export interface ServerState {
  readonly models: ModelRegistry
  readonly startedAt: Date
  /** Largest request body, in bytes. */
  readonly maxBodyBytes: number
  /** Quiet time on a stream after which a comment goes out, in milliseconds, so that proxies keep the connection. */
  readonly pingMs: number
}

/** The served models by name. */
export class ModelRegistry {
  readonly #byName = new Map<string, LoadedModel>()
  readonly #created = Math.floor(Date.now() / 1000)

  /** @throws Error when two models have one name. */
  constructor(models: readonly LoadedModel[]) {
    for (const model of models) {
      if (this.#byName.has(model.name))
        throw new Error(`Two models are named '${model.name}'; load each under a name of its own.`)
      this.#byName.set(model.name, model)
    }
  }

  /** @throws ApiError 404 `model_not_found`. */
  get(name: string): LoadedModel {
    const model = this.#byName.get(name)
    if (model !== undefined) return model
    const served = [...this.#byName.keys()].map((n) => `'${n}'`).join(", ")
    throw new ApiError(
      404,
      "invalid_request_error",
      `The model '${name}' is not served here; this server has ${served || "none"}.`,
      "model",
      "model_not_found",
    )
  }

  /** A name for examples. */
  get first(): string {
    return this.all()[0]?.name ?? "model"
  }

  all(): LoadedModel[] {
    return [...this.#byName.values()]
  }

  describe(model: LoadedModel): ModelBody {
    return {
      id: model.name,
      object: "model",
      created: this.#created,
      owned_by: "rocmforge",
      context_length: model.engine.limits.context_length,
    }
  }
}
