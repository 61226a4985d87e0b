import { parse, tokenize } from "@huggingface/jinja"
import { ChatTemplateError } from "./chat-errors.ts"
import { type ChatMessage, contentText, normaliseMessage } from "./chat-messages.ts"
import {
  BoundedInterpreter,
  DEFAULT_LIMITS,
  type RenderLimits,
  runBounded,
  TimeLimitError,
  templateEnvironment,
} from "./jinja-bounded.ts"
import type { EncodeOptions, Tokenizer } from "./tokenizer/types.ts"

/** A conversation to write as a prompt. */
export interface ChatRequest {
  messages: readonly ChatMessage[]
  /** Tools the model may call, in the OpenAI shape. */
  tools?: readonly unknown[]
  /** End the prompt where the assistant's answer begins. Default true. */
  addGenerationPrompt?: boolean
  /** A named variant of the template; default: `tool_use` if there are tools and the model has it, else the main one. */
  variant?: string
  /** Further variables for the template, such as `enable_thinking`. They cannot replace the ones above. */
  extra?: Readonly<Record<string, unknown>>
  /** The time that `strftime_now` tells; default now. */
  now?: Date
}

interface ChatTemplateOptions {
  /** Text of the BOS and EOS tokens; empty where the model has none. */
  bosToken?: string
  eosToken?: string
  limits?: Partial<RenderLimits>
}

type Program = ReturnType<typeof parse>

const DEFAULT_VARIANT = "default"
const REMEDY = "give one with --chat-template"

/** A model's chat template: conversations → prompts. Parses each variant once, when it is first used. */
export class ChatTemplate {
  readonly #sources: ReadonlyMap<string, string>
  readonly #programs = new Map<string, Program>()
  readonly #bosToken: string
  readonly #eosToken: string
  readonly #limits: RenderLimits

  /** @param source a Jinja template, or several by name with the main one under `default` */
  constructor(source: string | ReadonlyMap<string, string>, options: ChatTemplateOptions = {}) {
    this.#sources = typeof source === "string" ? new Map([[DEFAULT_VARIANT, source]]) : source
    this.#bosToken = options.bosToken ?? ""
    this.#eosToken = options.eosToken ?? ""
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits }
  }

  /** Names of the variants. */
  get variants(): readonly string[] {
    return [...this.#sources.keys()]
  }

  /** The Jinja source of a variant. @throws ChatTemplateError `missing` */
  source(variant: string = DEFAULT_VARIANT): string {
    const source = this.#sources.get(variant)
    if (source !== undefined) return source
    const known = this.variants.length > 0 ? ` (it has: ${this.variants.join(", ")})` : ""
    throw new ChatTemplateError("missing", `the model has no chat template "${variant}"${known}; ${REMEDY}`)
  }

  /**
   * The prompt of a conversation. Content of null becomes "", and parts of text are joined.
   * @throws ChatTemplateError of any code; rendering stays within the {@link RenderLimits}
   */
  render(request: ChatRequest): string {
    const tools = request.tools && request.tools.length > 0 ? request.tools : undefined
    const variant = request.variant ?? (tools && this.#sources.has("tool_use") ? "tool_use" : DEFAULT_VARIANT)
    const source = this.source(variant)
    const variables = {
      ...request.extra,
      messages: request.messages.map(normaliseMessage),
      tools: tools ?? null,
      add_generation_prompt: request.addGenerationPrompt ?? true,
      bos_token: this.#bosToken,
      eos_token: this.#eosToken,
    }
    try {
      return runBounded(() => {
        const program = this.#program(variant, source)
        const environment = templateEnvironment(variables, this.#limits, request.now ?? new Date())
        return String(new BoundedInterpreter(environment, this.#limits).run(program).value)
      }, this.#limits.timeMs)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  /**
   * The prompt of a conversation whose last message is not over: it stops where that message's text does, so that the model goes on
   * with it. What the template writes behind a message is left out.
   * @throws ChatTemplateError `failed` when the template does not show the last message
   */
  renderContinuation(request: ChatRequest): string {
    const last = request.messages.at(-1)
    // Marks the end of the text, since the template may trim it, or repeat it elsewhere.
    const end = crypto.randomUUID()
    const messages = [
      ...request.messages.slice(0, -1),
      { ...last, role: last?.role ?? "", content: contentText(last?.content) + end },
    ]
    const prompt = this.render({ ...request, messages, addGenerationPrompt: false })
    const length = prompt.lastIndexOf(end)
    if (length < 0)
      throw new ChatTemplateError("failed", "the chat template does not show the message that is to be continued")
    return prompt.slice(0, length)
  }

  /** Whether some variant names this word: a variable that none names changes nothing. */
  mentions(word: string): boolean {
    return [...this.#sources.values()].some((source) => new RegExp(`\\b${RegExp.escape(word)}\\b`).test(source))
  }

  #program(variant: string, source: string): Program {
    let program = this.#programs.get(variant)
    if (!program) {
      try {
        program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }))
      } catch (error) {
        throw new ChatTemplateError("syntax", `the chat template does not parse: ${reason(error)}; ${REMEDY}`, {
          cause: error,
        })
      }
      this.#programs.set(variant, program)
    }
    return program
  }

  #explain(error: unknown): ChatTemplateError {
    if (error instanceof ChatTemplateError) return error
    const options = { cause: error }
    if (error instanceof TimeLimitError) {
      const text = `the chat template ran for more than ${this.#limits.timeMs} ms and was stopped; it looks broken (${REMEDY})`
      return new ChatTemplateError("timeout", text, options)
    }
    // The engine's own limits: strings of 2³¹ units, and the depth of the stack.
    if (error instanceof RangeError) {
      return new ChatTemplateError(
        "too_large",
        `the chat template builds too much or nests too deep: ${reason(error)}`,
        options,
      )
    }
    return new ChatTemplateError("failed", `the chat template failed on these messages: ${reason(error)}`, options)
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

const KEY = "tokenizer.chat_template"

/**
 * The chat template of a GGUF file: `tokenizer.chat_template`, and the variants that `tokenizer.chat_templates` names.
 * @param get looks up a metadata key
 * @param override a template to use instead of the file's
 * @throws ChatTemplateError `missing` when there is neither
 */
export function chatTemplateFromMetadata(
  get: (key: string) => unknown,
  tokenizer: Pick<Tokenizer, "bosId" | "eosId" | "piece">,
  override?: string,
  limits?: Partial<RenderLimits>,
): ChatTemplate {
  const piece = (id: number | undefined) => (id === undefined ? "" : tokenizer.piece(id))
  const options = { bosToken: piece(tokenizer.bosId), eosToken: piece(tokenizer.eosId), limits }
  if (override !== undefined) return new ChatTemplate(override, options)

  const sources = new Map<string, string>()
  const add = (name: string, key: string) => {
    const source = get(key)
    if (typeof source === "string" && source !== "") sources.set(name, source)
  }
  add(DEFAULT_VARIANT, KEY)
  const names = get(`${KEY}s`)
  for (const name of Array.isArray(names) ? names : []) if (typeof name === "string") add(name, `${KEY}.${name}`)
  if (sources.size === 0) {
    throw new ChatTemplateError(
      "missing",
      `the model has no chat template (GGUF field ${KEY}), so it takes no conversations; ${REMEDY}`,
    )
  }
  return new ChatTemplate(sources, options)
}

/** How a rendered prompt is encoded: its special tokens count as such, and BOS comes in front if the model wants it and the template left it out. */
export function promptOptions(tokenizer: Tokenizer, prompt: string): EncodeOptions {
  const bos = tokenizer.bosId === undefined ? "" : tokenizer.piece(tokenizer.bosId)
  const has = bos !== "" && prompt.startsWith(bos)
  return { special: true, addBos: tokenizer.addBos && !has }
}

/** Token ids of a rendered prompt. */
export const encodePrompt = (tokenizer: Tokenizer, prompt: string): Int32Array =>
  tokenizer.encode(prompt, promptOptions(tokenizer, prompt))
