/**
 * ROCmForge as a library:
 *
 *     await using model = await loadModel(await resolveModel("smollm2-135m"))
 *     const prompt_tokens = model.tokenizer.encode("Once upon a time", { addBos: model.tokenizer.addBos })
 *     const request = { id: "1", prompt_tokens, sampling: GREEDY, max_tokens: 64, stop: [] }
 *     for await (const event of generateText(model, request)) if (event.type === "text") process.stdout.write(event.text)
 */

export { chooseDevice, type DeviceChoice, DeviceError } from "./engine/device.ts"
export { type LoadedModel, type LoadOptions, loadModel } from "./engine/load.ts"
export { generateText, type TextEvent, type TextRequest } from "./engine/text.ts"
export {
  type Engine,
  EngineError,
  type EngineEvent,
  type EngineLimits,
  type EngineStats,
  type FinishReason,
  type GenerateRequest,
  GREEDY,
  RequestError,
  type SamplingParams,
  type TokenLogprobs,
  type Usage,
} from "./engine/types.ts"
export { Gguf, GgufError, type GgufErrorCode, openGguf } from "./gguf/reader.ts"
export { ModelError } from "./models/errors.ts"
export { ARCHITECTURES, buildModel, type ModelDefinition } from "./models/registry.ts"
export { NativeError } from "./native/errors.ts"
export { createServer, type RunningServer, type ServerOptions, type StartOptions, startServer } from "./server/index.ts"
export {
  CATALOG,
  ChecksumError,
  DownloadError,
  ModelNotFoundError,
  type ResolveOptions,
  resolveModel,
  StoreError,
  type StoreEvent,
} from "./store/index.ts"
export {
  type ChatMessage,
  ChatTemplate,
  ChatTemplateError,
  Detokenizer,
  encodePrompt,
  type Tokenizer,
  TokenizerError,
} from "./text/index.ts"
