/**
 * Messages between supervisor and engine process. The engine process validates all of its parent's messages (zod). The parent validates
 * only type and shape of the engine's, because one arrives after every step.
 */

import { z } from "zod"
import packageJson from "../../../package.json" with { type: "json" }
import { constraintSchema } from "../../grammar/constraint.ts"
import { parseJson } from "../../json.ts"
import type { LoadOptions } from "../load.ts"
import type {
  EngineLimits,
  EngineStats,
  FinishReason,
  GenerateRequest,
  LoadedEngine,
  PrefillOnlyResult,
  PromptProgress,
  SamplingParams,
  TokenLogprobs,
  Usage,
} from "../types.ts"
import { type WireError, wireErrorSchema } from "./wire-error.ts"

/** Version of the messages. It differs only where the program on the disk was replaced while it ran. */
export const PROTOCOL = `${packageJson.version}/8`

const tokenLists = z.array(z.array(z.number()))

const sampling = z.object({
  temperature: z.number(),
  topK: z.number(),
  topP: z.number(),
  minP: z.number(),
  repetitionPenalty: z.number(),
  frequencyPenalty: z.number(),
  presencePenalty: z.number(),
  repeatLastN: z.number(),
  typicalP: z.number(),
  topNSigma: z.number(),
  xtcProbability: z.number(),
  xtcThreshold: z.number(),
  dryMultiplier: z.number(),
  dryBase: z.number(),
  dryAllowedLength: z.number(),
  dryPenaltyLastN: z.number(),
  drySequenceBreakers: tokenLists,
  mirostat: z.literal([0, 1, 2]),
  mirostatTau: z.number(),
  mirostatEta: z.number(),
  dynatempRange: z.number(),
  dynatempExponent: z.number(),
  minKeep: z.number(),
  temperatureLast: z.boolean(),
  // -Infinity excludes a token.
  logitBias: z.map(z.number(), z.union([z.number(), z.literal(Number.NEGATIVE_INFINITY)])),
  badWords: tokenLists,
  allowedTokens: z.set(z.number()).optional() as z.ZodType<ReadonlySet<number> | undefined>,
  seed: z.bigint(),
  generator: z.enum(["philox", "mersenne"]),
  logprobs: z.number().optional() as z.ZodType<number | undefined>,
} satisfies Record<keyof SamplingParams, z.ZodType>)

const request = z.strictObject({
  id: z.string(),
  tokens: z.instanceof(Int32Array),
  sampling,
  maxTokens: z.number(),
  stopTokens: z.set(z.number()),
  stopTokenIds: z.set(z.number()).optional(),
  minTokens: z.number().optional(),
  n: z.number().optional(),
  priority: z.number().optional(),
  key: z.string().optional(),
  cacheSalt: z.string().optional(),
  deadlineMs: z.number().optional(),
  constraint: z
    .string()
    .transform((text) => constraintSchema.parse(parseJson(text)))
    .optional(),
  progress: z.boolean().optional(),
  pooling: z.enum(["mean", "cls", "last", "none"]).optional(),
  targets: z.instanceof(Int32Array).optional(),
} satisfies Record<keyof GenerateRequest, z.ZodType>)

/** `handle` names one attempt at a request, and is never used again. */
const handle = z.number().int().positive()

const toChild = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("load"),
    path: z.string(),
    // Validated in the parent, where they were set.
    options: z.custom<WireOptions>((value) => typeof value === "object" && value !== null),
    /** While there are requests, the engine process sends a message at least this often. */
    heartbeatMs: z.number().positive(),
  }),
  z.object({ type: z.literal("generate"), handle, request }),
  z.object({ type: z.literal("cancel"), handle, index: z.number().optional() }),
  z.object({ type: z.literal("close") }),
])

/** A request whose constraint is JSON text: messages cannot hold raw numbers, nor the order of keys. */
export type WireRequest = Omit<GenerateRequest, "constraint"> & { constraint?: string }

export type WireOptions = Omit<LoadOptions, "onUpload">

export type ToChild =
  | { type: "load"; path: string; options: WireOptions; heartbeatMs: number }
  | { type: "generate"; handle: number; request: WireRequest }
  /** `index`: cancels this one of the request's sequences alone. */
  | { type: "cancel"; handle: number; index?: number }
  | { type: "close" }

const manyToChild = z.array(toChild)

/** Validates messages that were sent together. @throws z.ZodError */
export const parseToChild = (messages: unknown): z.infer<typeof manyToChild> => manyToChild.parse(messages)

/** A loaded engine's properties, without the engine itself. */
export type EngineFacts = Omit<LoadedEngine, "engine">

export interface StepMessage {
  type: "step"
  /** Number of `generate` messages received so far. */
  received: number
  stats: EngineStats
  /** [n, 3]: handle, index of the sequence, token. */
  tokens: Int32Array
  /** [n], for `tokens`; absent when no request asked for log-probabilities. */
  logprobs?: (TokenLogprobs | undefined)[]
  /** Applies before the tokens of this message. */
  progress?: ({ handle: number } & PromptProgress)[]
  /** Ends and failures apply after the tokens of this message. */
  ends: ({ handle: number; index: number; reason: FinishReason; usage: Usage } & PrefillOnlyResult)[]
  failures: { handle: number; error: WireError }[]
  /** The engine is broken and must be replaced. */
  fault?: WireError
}

export type FromChild =
  | { type: "hello"; protocol: string }
  | { type: "upload"; done: number; total: number }
  | { type: "ready"; limits: EngineLimits; facts: EngineFacts; stats: EngineStats }
  | { type: "failed"; error: WireError }
  | StepMessage

const TYPES: ReadonlySet<unknown> = new Set<FromChild["type"]>(["hello", "upload", "ready", "failed", "step"])

/** Checks type and shape of a message. @throws TypeError */
export function parseFromChild(message: unknown): FromChild {
  const { type, tokens, error } = (message ?? {}) as { type?: unknown; tokens?: unknown; error?: unknown }
  const sound = TYPES.has(type) && (type !== "step" || tokens instanceof Int32Array)
  if (!sound) throw new TypeError(`an engine process sent a message of the unknown type ${JSON.stringify(type)}`)
  if (type === "failed") wireErrorSchema.parse(error)
  return message as FromChild
}
