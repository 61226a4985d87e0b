export { ChatTemplateError } from "./chat-errors.ts"
export { type ChatMessage, contentText } from "./chat-messages.ts"
export {
  type ChatRequest,
  ChatTemplate,
  chatTemplateFromMetadata,
  encodePrompt,
  promptOptions,
} from "./chat-template.ts"
export { Detokenizer } from "./detokenizer.ts"
export { endsInReasoning, type ReasoningMarks, ReasoningSplitter, reasoningMarks } from "./reasoning.ts"
export { StopError, StopMatcher } from "./stop.ts"
export { type ScopedText, StopScope } from "./stop-scope.ts"
export { TokenizerError } from "./tokenizer/errors.ts"
export { tokenizerFromMetadata } from "./tokenizer/tokenizer.ts"
export type { EncodeOptions, Tokenizer } from "./tokenizer/types.ts"
