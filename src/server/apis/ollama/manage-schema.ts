/** Bodies of Ollama's routes that change which models are served. */

import { z } from "zod"
import { modelName, noEffect, openObject } from "../../http/lenient.ts"

const name = z.string().nullish().describe("An older name of model.")
const stream = z.boolean().nullish().describe("Send the progress, one JSON object per line. Default true.")
const itsRegistry = noEffect("concerns Ollama's own registry")

export const pullRequest = openObject("", {
  model: modelName,
  name,
  insecure: itsRegistry,
  username: itsRegistry,
  password: itsRegistry,
  stream,
})
export const copyRequest = openObject("", { source: z.string().min(1), destination: z.string().min(1) })
export const deleteRequest = openObject("", { model: modelName, name })

const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === "" ||
  (typeof value === "object" && Object.keys(value).length === 0)

/** A part of a model that a further name cannot have. */
const notOwn = (what: string) =>
  z
    .unknown()
    .refine(isEmpty, {
      error: `${what} not supported yet; leave the field out, and send it with each request`,
      params: { code: "unsupported_parameter" },
    })
    .optional()

export const createRequest = openObject("", {
  model: modelName,
  name,
  from: z.string().min(1).describe("A model that is served."),
  stream,
  system: notOwn("a system message of a model's own is"),
  template: notOwn("a template of a model's own is"),
  parameters: notOwn("parameters of a model's own are"),
  messages: notOwn("messages of a model's own are"),
  adapters: notOwn("adapters are"),
  files: notOwn("creating a model from files is"),
  quantize: notOwn("quantizing a model is"),
  modelfile: notOwn("a Modelfile is"),
  license: noEffect("is only shown"),
})

/** A line of progress. */
export const pullProgress = z.object({
  status: z.string(),
  digest: z.string().optional().describe("The file that is being downloaded."),
  total: z.int().optional().describe("Bytes of the file."),
  completed: z.int().optional().describe("Bytes that have arrived."),
})
export type PullProgress = z.output<typeof pullProgress>
