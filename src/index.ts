/**
 * ROCmForge as a library. It runs a model, given by name or file, in this process:
 *
 *     import { load } from "rocmforge"
 *
 *     await using llm = await load("smollm2-135m")
 *     for await (const text of llm.chat([{ role: "user", content: "Why is the sky blue?" }])) process.stdout.write(text)
 *
 *     const { text, finishReason, usage } = await llm.generate("Once upon a time", { maxTokens: 64 }).result()
 *
 * The parts below it are exported too: the engine (tokens in, tokens out), GGUF files and the model store. The HTTP server is
 * `rocmforge/server`.
 */

export { chooseDevice, type DeviceChoice, DeviceError } from "./engine/device.ts"
export { type LoadOptions, loadModel } from "./engine/load.ts"
export { type SuperviseOptions, superviseModel } from "./engine/process/index.ts"
export { generateText, type TextEvent, type TextRequest } from "./engine/text.ts"
export type { LoadedModel } from "./engine/types.ts"
export {
  type Engine,
  type EngineEvent,
  type EngineHealth,
  type EngineLimits,
  type EngineStats,
  type FinishReason,
  type GenerateRequest,
  GREEDY,
  type SamplingParams,
  type TokenLogprobs,
  type Usage,
} from "./engine/types.ts"
export { EngineError, OverloadedError, RequestError } from "./errors.ts"
export { Gguf, GgufError, type GgufErrorCode, openGguf } from "./gguf/reader.ts"
export type { Constraint, JsonSchema } from "./grammar/constraint.ts"
export {
  type GenerateInput,
  type GenerateOptions,
  Generation,
  type GenerationResult,
  Llm,
  type LoadLlmOptions,
  load,
} from "./library.ts"
export { ModelError } from "./models/errors.ts"
export { ARCHITECTURES, buildModel, type ModelDefinition } from "./models/registry.ts"
export { NativeError } from "./native/errors.ts"
export { CATALOG } from "./store/catalog.ts"
export { ChecksumError, DownloadError, ModelNotFoundError, StoreError } from "./store/errors.ts"
export type { StoreEvent } from "./store/fetch-file.ts"
export { type ResolveOptions, resolveModel } from "./store/resolve.ts"
export {
  type ChatMessage,
  ChatTemplate,
  ChatTemplateError,
  Detokenizer,
  encodePrompt,
  StopError,
  type Tokenizer,
  TokenizerError,
} from "./text/index.ts"
