/** Other libraries' view of JSON schemas and texts: tests/oracle/schemas.py, run in the environment that `scripts/setup.sh --dev` makes. */

import { createInterface } from "node:readline"
import { Readable } from "node:stream"
import { stringifyJson } from "../../src/json.ts"

const PYTHON = "build/oracle/bin/python"

/** Asks one question after another. Dispose of it to end the process. */
export class SchemaOracle implements Disposable {
  readonly #child = Bun.spawn([PYTHON, "tests/oracle/schemas.py"], { stdin: "pipe", stdout: "pipe", stderr: "inherit" })
  readonly #answers = createInterface({ input: Readable.fromWeb(this.#child.stdout as never) })[Symbol.asyncIterator]()

  /** By name, the schemas that pydantic writes for ordinary types of fields. */
  pydanticSchemas(): Promise<Record<string, Record<string, unknown>>> {
    return this.#ask({ pydantic: null })
  }

  /** For each text, why pydantic does not accept it for the model of this name; `null`: it does. */
  pydantic(name: string, texts: readonly string[]): Promise<(string | null)[]> {
    return this.#ask({ pydantic: name, texts })
  }

  /** For each text, whether it is JSON that validates by the library `jsonschema`. */
  jsonschema(schema: unknown, texts: readonly string[]): Promise<boolean[]> {
    return this.#ask({ jsonschema: schema, texts })
  }

  /** For each text, whether `llguidance` accepts it, or why it does not take the schema. */
  llguidance(schema: unknown, texts: readonly string[]): Promise<boolean[] | { error: string }> {
    return this.#ask({ llguidance: schema, texts })
  }

  async #ask<T>(request: object): Promise<T> {
    this.#child.stdin.write(`${stringifyJson(request)}\n`)
    this.#child.stdin.flush()
    const { value, done } = await this.#answers.next()
    if (done) throw new Error("tests/oracle/schemas.py ended; its message is above")
    return JSON.parse(value) as T
  }

  [Symbol.dispose](): void {
    this.#child.kill()
  }
}
