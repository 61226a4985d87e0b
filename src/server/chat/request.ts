/**
 * What the server's core is asked for. Every API translates its validated body into these interfaces, and the core reads nothing else;
 * it knows no API's field names. `undefined` is always "not given".
 */

import type { Form } from "../../grammar/constraint.ts"

/** A stage of sampling that a request can leave out. */
export type SamplerName =
  | "penalties"
  | "dry"
  | "topNSigma"
  | "topK"
  | "typicalP"
  | "topP"
  | "minP"
  | "xtc"
  | "temperature"

/** How tokens are chosen. Defaults: temperature 1, everything else off, a random seed. */
interface SamplingOptions {
  readonly temperature?: number
  /** 0 or less: off. */
  readonly topK?: number
  readonly topP?: number
  readonly minP?: number
  readonly presencePenalty?: number
  readonly frequencyPenalty?: number
  readonly repetitionPenalty?: number
  /** Tokens that the three penalties look back at. -1: all, the default; 0: none. */
  readonly repeatLastN?: number
  /** 1: off. */
  readonly typicalP?: number
  /** 0 or less: off. */
  readonly topNSigma?: number
  /** 0: off. */
  readonly xtcProbability?: number
  /** Default 0.1. */
  readonly xtcThreshold?: number
  /** 0: off. */
  readonly dryMultiplier?: number
  /** Default 1.75. */
  readonly dryBase?: number
  /** Default 2. */
  readonly dryAllowedLength?: number
  /** Tokens in which repetitions are looked for. -1: all, the default; 0: none. */
  readonly dryPenaltyLastN?: number
  /** Texts that no repetition extends across. Default: line break, `:`, `"` and `*`. */
  readonly drySequenceBreakers?: readonly string[]
  /** 0: off. 1 and 2: the two versions of Mirostat, in place of every other limit. */
  readonly mirostat?: 0 | 1 | 2
  /** Default 5. */
  readonly mirostatTau?: number
  /** Default 0.1. */
  readonly mirostatEta?: number
  /** 0: off. */
  readonly dynatempRange?: number
  /** Default 1. */
  readonly dynatempExponent?: number
  /** Tokens that typicalP, topP, minP and XTC keep at least. Default 0, which is one. */
  readonly minKeep?: number
  /** Apply the temperature after the limits, as llama.cpp does. By default it comes first, as in vLLM. */
  readonly temperatureLast?: boolean
  /** The stages that apply; the others are off. Their order is fixed. Default: all. */
  readonly samplers?: readonly SamplerName[]
  /** Added to the logits, by token id. -Infinity excludes a token. */
  readonly logitBias?: Readonly<Record<string, number>>
  /** The same, for every token of a text. */
  readonly logitBiasText?: readonly (readonly [text: string, bias: number])[]
  /** Texts that do not occur in the answer. */
  readonly badWords?: readonly string[]
  /** The only tokens that the answer may have. */
  readonly allowedTokenIds?: readonly number[]
  readonly seed?: number
}

/** What every request for generated text has. */
export interface GenerationRequest extends SamplingOptions {
  /** Choices for each prompt. Default 1. */
  readonly n?: number
  /** Default: what the prompt leaves of the context. */
  readonly maxTokens?: number
  /** Neither an end token nor a stop string ends the text before this many tokens. Default 0. */
  readonly minTokens?: number
  /** Texts that end the answer and are not part of it. */
  readonly stop?: readonly string[]
  /** These texts also count within calls of tools, and within the strings of JSON that `form` asks for. */
  readonly stopEverywhere?: boolean
  /** Tokens that end the answer. */
  readonly stopTokenIds?: readonly number[]
  /** What ends the answer, a stop string or a stop token, is part of it. */
  readonly includeStop?: boolean
  /** false: control tokens come out as text. */
  readonly skipSpecialTokens?: boolean
  /** Generate past the model's end tokens. */
  readonly ignoreEos?: boolean
  /** Report each token's log-probability, and those of this many alternatives. Default: none. */
  readonly logprobs?: number
  /** Report the ids of the answer's tokens. */
  readonly tokenIds?: boolean
  /** Milliseconds after its first token at which a text ends, as at `maxTokens`. */
  readonly timeLimitMs?: number
  /** Tokens at the end of the prompt that are kept; -1: as many as leave room for one more. Default: all, or a refusal. */
  readonly keptPromptTokens?: number
  /** What the text must be. Default: any text. */
  readonly form?: RequestedForm
}

/** A form of text, and the field that asks for it. */
export interface RequestedForm {
  readonly form: Form
  /** A key of the field, or a name that all APIs which have it use. */
  readonly field: FormField | (string & {})
}

/** The fields by which an API can ask for a form. */
type FormField = "responseFormat" | "regex" | "grammar" | "structuredOutputs"

/** What a conversation's prompt is made of. */
export interface Conversation {
  readonly messages: readonly Message[]
  readonly tools?: readonly Tool[]
  /** Default `auto`. */
  readonly toolChoice?: ToolChoice
  /** The answer may have several calls. Default true. */
  readonly parallelToolCalls?: boolean
  /** End the prompt where the assistant's turn begins. Default true. */
  readonly addGenerationPrompt?: boolean
  /** The last message is the beginning of the answer. */
  readonly continueFinalMessage?: boolean
  /** Further variables of the chat template. */
  readonly templateVariables?: Readonly<Record<string, unknown>>
  /** A Jinja template in place of the model's. */
  readonly chatTemplate?: string
  /** Texts for templates that show documents to the model. */
  readonly documents?: readonly Readonly<Record<string, unknown>>[]
  /** Turn thinking on or off, where the model has a switch for it. */
  readonly thinking?: boolean
  /** Most tokens of the thoughts, which are ended there. From 1. Default: no limit. */
  readonly thinkingBudget?: number
  readonly reasoningEffort?: "minimal" | "low" | "medium" | "high" | "xhigh" | "max"
}

/** A conversation to be answered. */
export interface ChatRequest extends GenerationRequest, Conversation {
  /** Tokens of an earlier conversation, which come before the prompt. */
  readonly precedingTokens?: readonly number[]
  /** false: the prompt does not get a beginning token that the chat template left out. */
  readonly addSpecialTokens?: boolean
}

export interface Message {
  readonly role: "system" | "user" | "assistant" | "tool"
  readonly content: string
  readonly name?: string
  /** What the assistant thought before it answered. */
  readonly reasoning?: string
  /** Calls that the assistant made. */
  readonly toolCalls?: readonly ToolCall[]
  /** Of a tool's message: the call that it answers. */
  readonly toolCallId?: string
}

/** What the model reads in place of an image that a tool returned. */
export const UNSEEN_IMAGE = "[An image, which this model cannot see.]"

/** A call of a function. */
export interface ToolCall {
  readonly id: string
  readonly name: string
  /** JSON; cut off where an answer is (`length`). */
  readonly arguments: string
}

/** A function that the answer may call. */
export interface Tool {
  readonly name: string
  readonly description?: string
  /** JSON Schema of its arguments. Default: it takes none. */
  readonly parameters?: Readonly<Record<string, unknown>>
  /** Refuse a schema that cannot be enforced, where by default the part that cannot accepts any value of its type. */
  readonly strict?: boolean
}

/**
 * `none`: no calls; `auto`: as the model decides; `required`: at least one; `function`: a call of that one; `allowed`: `mode` among
 * these alone, which are also the only ones that the prompt describes.
 */
export type ToolChoice =
  | "none"
  | "auto"
  | "required"
  | { readonly function: string }
  | { readonly allowed: readonly string[]; readonly mode: "auto" | "required" }

/** Prompts to continue. */
export interface CompletionPrompts extends Pick<GenerationRequest, "keptPromptTokens" | "maxTokens"> {
  /** Texts or token ids. */
  readonly prompt: readonly (string | readonly number[])[]
  /** Fill the gap between the prompt and this text. */
  readonly suffix?: string
  /** false: a text does not get the model's beginning token. */
  readonly addSpecialTokens?: boolean
}

/** Texts or token ids to embed. */
export interface EmbeddingRequest {
  /** Texts, token ids, and lists of both, each of which is one input. */
  readonly input: readonly (string | readonly (string | number)[])[]
  /** Leading numbers of each vector that are kept. Default: all. */
  readonly dimensions?: number
  /** Default: what the model's file says, else the mean. */
  readonly pooling?: "mean" | "cls" | "last" | "none"
  /** Most tokens of a text. Default: the model's context. */
  readonly maxLength?: number
  /** Cut texts that have more, where by default they are refused. */
  readonly truncate?: boolean
  /** Tokens at the end of a text that are kept; -1: as many as `maxLength`. Default: all. */
  readonly keptTokens?: number
  /** false: texts do not get the model's beginning and end tokens. */
  readonly addSpecialTokens?: boolean
  /** Scale vectors by this norm: 1, 2 (default) or more; 0: by the greatest number, to 32760; -1: not at all. */
  readonly norm?: number
}

/** What no refusal names. */
type Accepted =
  | "form"
  | "stopEverywhere"
  | "tokenIds"
  | "timeLimitMs"
  | "keptPromptTokens"
  | "documents"
  | "thinkingBudget"
  | "addSpecialTokens"
  | "keptTokens"
  | "norm"

/** Everything that a refusal can name. An API maps each to its own name, or to `null` if it has no such field. */
export type FieldKey =
  | Exclude<keyof ChatRequest | keyof EmbeddingRequest, Accepted>
  | FormField
  | Exclude<keyof CompletionPrompts, Accepted>
  | "model"
  | "priority"
  | "tools[].parameters"

/** An API's names of the fields. */
export type ApiFields = Readonly<Record<FieldKey, string | null>>
