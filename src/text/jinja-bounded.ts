import vm from "node:vm"
import { Environment, Interpreter } from "@huggingface/jinja"
import { ChatTemplateError } from "./chat-errors.ts"
import { strftime } from "./strftime.ts"

type Evaluate = Interpreter["evaluate"]
type Value = ReturnType<Evaluate>

/** Bounds on one rendering. */
export interface RenderLimits {
  /** Wall time in milliseconds. */
  timeMs: number
  /** UTF-16 units of any one string, the prompt among them. */
  stringLength: number
  /** Items of any one list. */
  listLength: number
}

/** Far above what templates need (0.1 ms for a short chat), low enough that a hostile one is no more than a slow request. */
export const DEFAULT_LIMITS: RenderLimits = { timeMs: 1000, stringLength: 8 << 20, listLength: 100_000 }

/** All strings and lists that one rendering makes may hold this many times the longest string; a list item counts as 64 units. */
const TOTAL_FACTOR = 16
const ITEM_COST = 64

function tooLarge(what: string): ChatTemplateError {
  return new ChatTemplateError(
    "too_large",
    `the chat template built ${what}; it looks broken (give another with --chat-template)`,
  )
}

/**
 * The library's interpreter with a bound on what it builds. Every value passes through `evaluate`, so a string or list that grows
 * step by step is caught at its first step past the limit; time is bounded by the caller (`runBounded`).
 */
export class BoundedInterpreter extends Interpreter {
  readonly #limits: RenderLimits
  #spent = 0
  /** The iterables of `for` statements, as nodes of the template. */
  readonly #iterables = new WeakSet<object>()
  readonly #emptyList: Value = new Environment().set("empty", [])

  constructor(environment: Environment, limits: RenderLimits) {
    super(environment)
    this.#limits = limits
  }

  override evaluate(...args: Parameters<Evaluate>): Value {
    const [node] = args
    if (node?.type === "For") this.#noteIterable(node)
    const result = super.evaluate(...args)
    // Jinja iterates over something undefined zero times, and templates count on it; the library would fail.
    if (result.type === "UndefinedValue" && node && this.#iterables.has(node)) return this.#emptyList
    const value: unknown = result.value
    if (typeof value === "string") {
      if (value.length > this.#limits.stringLength)
        throw tooLarge(`a text of more than ${this.#limits.stringLength} characters`)
      this.#spend(node?.type, value.length)
    } else if (Array.isArray(value)) {
      if (value.length > this.#limits.listLength) throw tooLarge(`a list of more than ${this.#limits.listLength} items`)
      this.#spend(node?.type, value.length * ITEM_COST)
    }
    return result
  }

  #noteIterable(node: object): void {
    const { iterable } = node as { iterable: { type: string; lhs?: object } }
    this.#iterables.add(iterable.type === "SelectExpression" && iterable.lhs ? iterable.lhs : iterable)
  }

  /** Counts what expressions make anew; reading a variable or a member makes nothing. */
  #spend(nodeType: string | undefined, cost: number): void {
    if (nodeType === "Identifier" || nodeType === "MemberExpression" || nodeType === "StringLiteral") return
    this.#spent += cost
    if (this.#spent > this.#limits.stringLength * TOTAL_FACTOR) throw tooLarge("too many texts and lists on its way")
  }
}

/** The names that every template may use, those of `transformers`, over `variables`. */
export function templateEnvironment(variables: Record<string, unknown>, limits: RenderLimits, now: Date): Environment {
  const environment = new Environment()
  const globals: Record<string, unknown> = {
    false: false,
    true: true,
    none: null,
    False: false,
    True: true,
    None: null,
    raise_exception: (message: unknown) => {
      throw new ChatTemplateError("raised", `the model's chat template refuses these messages: ${String(message)}`)
    },
    range: (...args: unknown[]) => boundedRange(args, limits.listLength),
    strftime_now: (format: unknown) => strftime(now, String(format)),
  }
  for (const [name, value] of Object.entries({ ...variables, ...globals })) environment.set(name, value)
  return environment
}

/** Python's range, which refuses to be longer than a list may be. */
function boundedRange(args: readonly unknown[], limit: number): number[] {
  const numbers = args.filter((arg) => typeof arg === "number")
  const [start, stop, step] =
    numbers.length < 2 ? [0, numbers[0] ?? 0, 1] : [numbers[0] ?? 0, numbers[1] ?? 0, numbers[2] ?? 1]
  if (step === 0) throw new ChatTemplateError("failed", "the chat template calls range() with step 0")
  const length = Math.max(0, Math.ceil((stop - start) / step))
  if (length > limit) throw tooLarge(`a range of ${length} numbers`)
  return Array.from({ length }, (_, i) => start + i * step)
}

/** A function did not return within its time. */
export class TimeLimitError extends Error {
  override readonly name = "TimeLimitError"
}

const context = vm.createContext(Object.create(null) as { task?: () => unknown })
const script = new vm.Script("task()")

/**
 * Runs a synchronous function and ends it after `ms` milliseconds, wherever it is: an endless loop, a recursion, a long native
 * call. The engine's own watchdog does it (it covers everything that the script calls, code of this realm included), so no
 * thread or process is needed; the cost is 2 µs. What the function changed stays changed. Calls do not nest.
 * @throws TimeLimitError
 */
export function runBounded<T>(task: () => T, ms: number): T {
  context.task = task
  try {
    return script.runInContext(context, { timeout: ms }) as T
  } catch (error) {
    if (error instanceof Error && (error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT") {
      throw new TimeLimitError(`still running after ${ms} ms`)
    }
    throw error
  } finally {
    context.task = undefined
  }
}
