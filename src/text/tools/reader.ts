/** Reading a streamed text one character at a time, as if all of it were there. */

/** What a text turns out to say: `call` begins a call, `arguments` is more of its JSON. */
export type ToolPiece =
  | { type: "content"; text: string }
  | { type: "call"; name: string }
  | { type: "arguments"; text: string }

/** A step of reading; at each `yield` it waits for the next UTF-16 unit, or for "", which is the end of the text. */
export type Reading<T = void> = Generator<void, T, string>

/** Values that lie deeper are no call's arguments. */
const MAX_DEPTH = 100

/**
 * A text that comes in pieces, and what has been made of it. What is read is held until it is known to be content or part of a call's
 * frame, so that nothing is lost of what only began like a call.
 */
export class Reader {
  /** Calls begun so far. */
  calls = 0
  /** The arguments of each of them came to their end. */
  whole = true
  #ahead: string | undefined
  #held = ""
  #inArguments = false
  #pieces: ToolPiece[] = []

  /** What was read, and is neither content nor dropped. */
  get held(): string {
    return this.#held
  }

  /** What has been made out since the last time. */
  take(): ToolPiece[] {
    const pieces = this.#pieces
    this.#pieces = []
    return pieces
  }

  *peek(): Reading<string> {
    this.#ahead ??= yield
    return this.#ahead
  }

  *next(): Reading<string> {
    const char = yield* this.peek()
    if (char === "") return char
    this.#ahead = undefined
    if (this.#inArguments) this.#add("arguments", char)
    else this.#held += char
    return char
  }

  /** What is held, or its beginning, is content. */
  content(length: number = this.#held.length): void {
    if (length > 0) this.#add("content", this.#held.slice(0, length))
    this.#held = this.#held.slice(length)
  }

  /** What is held says nothing by itself. */
  drop(): void {
    this.#held = ""
  }

  /** What is held was the beginning of a call. */
  begin(name: string, args = ""): void {
    this.drop()
    this.calls++
    this.#pieces.push({ type: "call", name })
    if (args !== "") this.#add("arguments", args)
  }

  /**
   * Content up to one of the marks, which is held then, with the white space before it. What is held already may begin with content.
   * @returns the mark; `undefined` at the end of the text, of which nothing is held
   */
  *textUpTo(marks: readonly string[]): Reading<string | undefined> {
    for (;;) {
      if ((yield* this.next()) === "") {
        // White space at the end means something where there is nothing but text.
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

  /** Whether this comes next; it is read as far as it does. */
  *literal(text: string): Reading<boolean> {
    for (const char of text) {
      if ((yield* this.peek()) !== char) return false
      yield* this.next()
    }
    return true
  }

  /** JSON's white space. */
  *space(): Reading {
    while (/^[ \t\n\r]$/.test(yield* this.peek())) yield* this.next()
  }

  /** Characters that match. */
  *run(pattern: RegExp): Reading<string> {
    let text = ""
    while (pattern.test(yield* this.peek())) text += yield* this.next()
    return text
  }

  /** A JSON object as the arguments of the call that has begun. @returns whether it is whole and right */
  *arguments(): Reading<boolean> {
    this.#inArguments = true
    const whole = yield* this.#container(0)
    this.#inArguments = false
    this.whole &&= whole
    return whole
  }

  /** A JSON value (RFC 8259). @returns its text; `undefined`: it is none, and has been read as far as it could be one */
  *value(): Reading<string | undefined> {
    const start = this.#held.length
    return (yield* this.#value(0)) ? this.#held.slice(start) : undefined
  }

  /** One of these words, the longest that is there. */
  *word(words: readonly string[]): Reading<string | undefined> {
    let text = ""
    for (;;) {
      const more = text + (yield* this.peek())
      if (more === text || !words.some((word) => word.startsWith(more))) return words.find((word) => word === text)
      text = more
      yield* this.next()
    }
  }

  /** One of these words in quotes, as a JSON string. */
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

/** Length of the longest end of the text that begins one of the marks. */
function beginning(text: string, marks: readonly string[]): number {
  const longest = Math.min(text.length, Math.max(...marks.map((mark) => mark.length)) - 1)
  for (let length = longest; length > 0; length--)
    if (marks.some((mark) => mark.startsWith(text.slice(-length)))) return length
  return 0
}
