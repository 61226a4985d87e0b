/** Parses a streamed text one character at a time, with generators that wait for more text as if all of it were there. */

/** A piece of a parsed text: `call` begins a call, `arguments` continues its JSON. */
export type ToolPiece =
  | { type: "content"; text: string }
  | { type: "call"; name: string }
  | { type: "arguments"; text: string }

/** A parser. At each `yield` it waits for the next UTF-16 unit, or for "" at the end of the text. */
export type Reading<T = void> = Generator<void, T, string>

/** Arguments that nest deeper are not accepted. */
const MAX_DEPTH = 100

/**
 * A text that arrives in pieces, and its parsed pieces. Text that was read is held until it is known to be content or the syntax of a
 * call, so that text which only began like a call is not lost.
 */
export class Reader {
  /** Calls begun so far. */
  calls = 0
  /** Whether the arguments of all calls so far are complete. */
  whole = true
  #ahead: string | undefined
  #held = ""
  #inArguments = false
  #pieces: ToolPiece[] = []

  /** Text that was read and is neither content nor dropped yet. */
  get held(): string {
    return this.#held
  }

  /** Returns the pieces that were parsed since the last call. */
  take(): ToolPiece[] {
    const pieces = this.#pieces
    this.#pieces = []
    return pieces
  }

  /** The next character, which stays unread; "" at the end of the text. */
  *peek(): Reading<string> {
    this.#ahead ??= yield
    return this.#ahead
  }

  /** Reads the next character; "" at the end of the text. */
  *next(): Reading<string> {
    const char = yield* this.peek()
    if (char === "") return char
    this.#ahead = undefined
    if (this.#inArguments) this.#add("arguments", char)
    else this.#held += char
    return char
  }

  /** Emits the held text, or the first `length` units of it, as content. */
  content(length: number = this.#held.length): void {
    if (length > 0) this.#add("content", this.#held.slice(0, length))
    this.#held = this.#held.slice(length)
  }

  /** Discards the held text: it is the syntax of a call. */
  drop(): void {
    this.#held = ""
  }

  /** Discards the held text and begins a call. @param args the arguments, if they were read before the name */
  begin(name: string, args = ""): void {
    this.drop()
    this.calls++
    this.#pieces.push({ type: "call", name })
    if (args !== "") this.#add("arguments", args)
  }

  /**
   * Reads content up to one of the marks. The mark is then held, with the white space before it. Text that is already held may begin
   * with content.
   * @returns the mark; `undefined` at the end of the text, when nothing is held
   */
  *textUpTo(marks: readonly string[]): Reading<string | undefined> {
    for (;;) {
      if ((yield* this.next()) === "") {
        // White space at the end is content only in a text without calls.
        if (this.calls > 0 && this.#held.trim() === "") this.drop()
        this.content()
        return undefined
      }
      const held = this.#held
      const mark = marks.find((mark) => held.endsWith(mark))
      if (mark === undefined) this.content(held.slice(0, held.length - beginning(held, marks)).trimEnd().length)
      else {
        this.content(held.slice(0, -mark.length).trimEnd().length)
        return mark
      }
    }
  }

  /** Reads this text if it comes next. @returns whether it does; otherwise the part that matches has been read */
  *literal(text: string): Reading<boolean> {
    for (const char of text) {
      if ((yield* this.peek()) !== char) return false
      yield* this.next()
    }
    return true
  }

  /** Reads white space of JSON. */
  *space(): Reading {
    while (/^[ \t\n\r]$/.test(yield* this.peek())) yield* this.next()
  }

  /** Reads characters while they match. */
  *run(pattern: RegExp): Reading<string> {
    let text = ""
    while (pattern.test(yield* this.peek())) text += yield* this.next()
    return text
  }

  /** Reads a JSON object as the arguments of the call that has begun. @returns whether it is complete and valid */
  *arguments(): Reading<boolean> {
    this.#inArguments = true
    const whole = yield* this.#container(0)
    this.#inArguments = false
    this.whole &&= whole
    return whole
  }

  /** Reads a JSON value (RFC 8259). @returns its text; `undefined` if it is not valid, when it has been read up to its error */
  *value(): Reading<string | undefined> {
    const start = this.#held.length
    return (yield* this.#value(0)) ? this.#held.slice(start) : undefined
  }

  /** Reads one of these words, the longest that matches. */
  *word(words: readonly string[]): Reading<string | undefined> {
    let text = ""
    for (;;) {
      const more = text + (yield* this.peek())
      if (more === text || !words.some((word) => word.startsWith(more))) return words.find((word) => word === text)
      text = more
      yield* this.next()
    }
  }

  /** Reads one of these words in quotes, as a JSON string. */
  *quoted(words: readonly string[]): Reading<string | undefined> {
    if (!(yield* this.literal('"'))) return undefined
    const word = yield* this.word(words)
    return (yield* this.literal('"')) ? word : undefined
  }

  *#value(depth: number): Reading<boolean> {
    const char = yield* this.peek()
    if (char === "{" || char === "[") return yield* this.#container(depth)
    if (char === '"') return yield* this.#string()
    if (char === "t") return yield* this.literal("true")
    if (char === "f") return yield* this.literal("false")
    if (char === "n") return yield* this.literal("null")
    return yield* this.#number()
  }

  *#container(depth: number): Reading<boolean> {
    if (depth > MAX_DEPTH) return false
    const open = yield* this.next()
    const close = open === "{" ? "}" : "]"
    yield* this.space()
    if (yield* this.literal(close)) return true
    for (;;) {
      if (open === "{" && !(yield* this.#key())) return false
      if (!(yield* this.#value(depth + 1))) return false
      yield* this.space()
      if (yield* this.literal(close)) return true
      if (!(yield* this.literal(","))) return false
      yield* this.space()
    }
  }

  *#key(): Reading<boolean> {
    if (!(yield* this.#string())) return false
    yield* this.space()
    if (!(yield* this.literal(":"))) return false
    yield* this.space()
    return true
  }

  *#string(): Reading<boolean> {
    if (!(yield* this.literal('"'))) return false
    for (;;) {
      const char = yield* this.peek()
      if (char === "" || char < " ") return false
      yield* this.next()
      if (char === '"') return true
      if (char === "\\" && !(yield* this.#escape())) return false
    }
  }

  *#escape(): Reading<boolean> {
    if (!/^["\\/bfnrtu]$/.test(yield* this.peek())) return false
    if ((yield* this.next()) !== "u") return true
    for (let i = 0; i < 4; i++) {
      if (!/^[0-9a-fA-F]$/.test(yield* this.peek())) return false
      yield* this.next()
    }
    return true
  }

  *#number(): Reading<boolean> {
    const digits = /^\d$/
    yield* this.literal("-")
    if (!(yield* this.literal("0")) && (yield* this.run(digits)) === "") return false
    if ((yield* this.literal(".")) && (yield* this.run(digits)) === "") return false
    if (!/^[eE]$/.test(yield* this.peek())) return true
    yield* this.next()
    if (!(yield* this.literal("+"))) yield* this.literal("-")
    return (yield* this.run(digits)) !== ""
  }

  #add(type: "content" | "arguments", text: string): void {
    const last = this.#pieces.at(-1)
    if (last?.type === type) last.text += text
    else this.#pieces.push({ type, text })
  }
}

/** Length of the longest suffix of the text that begins one of the marks. */
function beginning(text: string, marks: readonly string[]): number {
  const longest = Math.min(text.length, Math.max(...marks.map((mark) => mark.length)) - 1)
  for (let length = longest; length > 0; length--)
    if (marks.some((mark) => mark.startsWith(text.slice(-length)))) return length
  return 0
}
