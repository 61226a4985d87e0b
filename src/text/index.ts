export { ChatTemplateError, type ChatTemplateErrorCode } from "./chat-errors.ts"
export { type ChatMessage, type ContentPart, contentText, type ToolCall } from "./chat-messages.ts"
export {
  type ChatRequest,
  ChatTemplate,
  type ChatTemplateOptions,
  chatTemplateFromMetadata,
  encodePrompt,
  promptOptions,
} from "./chat-template.ts"
export { Detokenizer, type DetokenizerOptions } from "./detokenizer.ts"
export type { RenderLimits } from "./jinja-bounded.ts"
export { endsInReasoning, type ReasoningMarks, ReasoningSplitter, reasoningMarks, type SplitText } from "./reasoning.ts"
export { MAX_STOP_STRINGS, StopError, StopMatcher, type StopResult } from "./stop.ts"
export { TokenizerError, type TokenizerErrorCode } from "./tokenizer/errors.ts"
export { KNOWN_PRE_TOKENIZERS } from "./tokenizer/pre-tokenizer-table.ts"
export { createTokenizer, tokenizerFromMetadata } from "./tokenizer/tokenizer.ts"
export {
  type DecodeOptions,
  type EncodeOptions,
  type Tokenizer,
  type TokenizerSource,
  TokenType,
} from "./tokenizer/types.ts"
