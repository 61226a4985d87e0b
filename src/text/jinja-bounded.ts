/** Renders chat templates, which come with models and are not trusted, within limits on time and size. */

import vm from "node:vm"
import { Environment, Interpreter } from "@huggingface/jinja"
import { ChatTemplateError } from "./chat-errors.ts"
import { exactOperation, isExactOperator, isWritten, templateValue, type Value } from "./jinja-values.ts"
import { strftime } from "./strftime.ts"

type Evaluate = Interpreter["evaluate"]
type Node = NonNullable<Parameters<Evaluate>[0]>

/** Limits of one rendering. */
export interface RenderLimits {
  /** Wall time in milliseconds. */
  timeMs: number
  /** UTF-16 units of the longest string, including the prompt. */
  stringLength: number
  /** Items of the longest list. */
  listLength: number
}

/** Far above what templates need (0.1 ms for a short chat), and low enough that a hostile template costs no more than a slow request. */
export const DEFAULT_LIMITS: RenderLimits = { timeMs: 1000, stringLength: 8 << 20, listLength: 100_000 }

/** The strings and lists that one rendering makes may together hold this many times `stringLength` units. */
const TOTAL_FACTOR = 16
/** Units that a list item counts as. */
const ITEM_COST = 64

function tooLarge(what: string): ChatTemplateError {
  return new ChatTemplateError(
    "too_large",
    `the chat template built ${what}; it looks broken (give another with --chat-template)`,
  )
}

/**
 * The library's interpreter with limits on the values it builds. Every value passes through `evaluate`, so a string or list that grows
 * step by step is caught at its first step beyond the limit. The caller limits the time with `runBounded`.
 */
export class BoundedInterpreter extends Interpreter {
  readonly #limits: RenderLimits
  #spent = 0
  /** The iterables of `for` statements, as nodes of the template. */
  readonly #iterables = new WeakSet<object>()
  readonly #emptyList: Value = new Environment().set("empty", [])

  /** Whether a variable holds a number that prints otherwise than JavaScript's would. */
  readonly #written: boolean

  constructor(environment: TemplateEnvironment, limits: RenderLimits) {
    super(environment)
    this.#limits = limits
    this.#written = environment.written
  }

  override evaluate(...args: Parameters<Evaluate>): Value {
    const [node, environment] = args
    if (node instanceof Known) return node.value
    if (node?.type === "For") this.#noteIterable(node)
    const result = this.#written && node ? this.#exactly(node, environment) : super.evaluate(...args)
    // In Jinja a loop over an undefined value runs zero times, and templates rely on that; the library would fail.
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

  /** Evaluates a node, with numbers of any length and spelling where the library would turn them into doubles. */
  #exactly(node: Node, environment: Environment): Value {
    const { operator, left, right, operand, filter } = node as unknown as Expressions
    if (node.type === "BinaryExpression" && isExactOperator(operator.value)) {
      const operands = [this.evaluate(left, environment), this.evaluate(right, environment)] as const
      const known = { ...node, left: new Known(operands[0]), right: new Known(operands[1]) }
      return exactOperation(operator.value, ...operands) ?? super.evaluate(known, environment)
    }
    if (node.type === "FilterExpression" && filter.type === "Identifier" && filter.value === "int") {
      const value = this.evaluate(operand, environment)
      const unchanged = isWritten(value) && value.type === "IntegerValue"
      return unchanged ? value : super.evaluate({ ...node, operand: new Known(value) } as Node, environment)
    }
    return super.evaluate(node, environment)
  }

  #noteIterable(node: object): void {
    const { iterable } = node as { iterable: { type: string; lhs?: object } }
    this.#iterables.add(iterable.type === "SelectExpression" && iterable.lhs ? iterable.lhs : iterable)
  }

  /** Adds the size of a new value to the total. Reading a variable or a member makes no new value. */
  #spend(nodeType: string | undefined, cost: number): void {
    if (nodeType === "Identifier" || nodeType === "MemberExpression" || nodeType === "StringLiteral") return
    this.#spent += cost
    if (this.#spent > this.#limits.stringLength * TOTAL_FACTOR) throw tooLarge("too many texts and lists")
  }
}

/** The parts of binary expressions and of filters. */
interface Expressions {
  readonly operator: { readonly value: string }
  readonly left: Node
  readonly right: Node
  readonly operand: Node
  readonly filter: { readonly type: string; readonly value: string }
}

/** A node whose value is known. */
class Known {
  readonly type = "Known"
  constructor(readonly value: Value) {}
}

class TemplateEnvironment extends Environment {
  /** Whether a variable holds a number that prints otherwise than JavaScript's would. */
  written = false

  override set(name: string, value: unknown): Value {
    if (this.variables.has(name)) throw new SyntaxError(`the variable '${name}' is set twice`)
    return this.setVariable(
      name,
      templateValue(value, () => {
        this.written = true
      }),
    )
  }
}

/** An environment with `variables` and the globals that `transformers` gives to templates. */
export function templateEnvironment(
  variables: Record<string, unknown>,
  limits: RenderLimits,
  now: Date,
): TemplateEnvironment {
  const environment = new TemplateEnvironment()
  const globals: Record<string, unknown> = {
    false: false,
    true: true,
    none: null,
    False: false,
    True: true,
    None: null,
    raise_exception: (message: unknown) => {
      throw new ChatTemplateError("raised", `the model's chat template rejects these messages: ${String(message)}`)
    },
    range: (...args: unknown[]) => boundedRange(args, limits.listLength),
    strftime_now: (format: unknown) => strftime(now, String(format)),
  }
  for (const [name, value] of Object.entries({ ...variables, ...globals })) environment.set(name, value)
  return environment
}

/** Python's `range` as a list. @throws ChatTemplateError `too_large` when it exceeds the limit of lists */
function boundedRange(args: readonly unknown[], limit: number): number[] {
  const numbers = args.filter((arg) => typeof arg === "number")
  const [start, stop, step] =
    numbers.length < 2 ? [0, numbers[0] ?? 0, 1] : [numbers[0] ?? 0, numbers[1] ?? 0, numbers[2] ?? 1]
  if (step === 0) throw new ChatTemplateError("failed", "the chat template calls range() with step 0")
  const length = Math.max(0, Math.ceil((stop - start) / step))
  if (length > limit) throw tooLarge(`a range of ${length} numbers`)
  return Array.from({ length }, (_, i) => start + i * step)
}

/** A function did not return within its time limit. */
export class TimeLimitError extends Error {
  override readonly name = "TimeLimitError"
}

const context = vm.createContext(Object.create(null) as { task?: () => unknown })
const script = new vm.Script("task()")

/**
 * Runs a synchronous function and stops it after `ms` milliseconds, even in an endless loop, a recursion or a long native call. The
 * watchdog of the JavaScript engine stops it (and covers everything that the script calls, in any realm), so no thread or process is
 * needed; a call costs 2 µs. Changes that the function made remain. Calls do not nest.
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
