import { readFileSync } from "node:fs"
import { isatty } from "node:tty"
import { UsageError } from "./exit.ts"

/**
 * Reads the text that a command works on: `text`, a file, or standard input (when `text` is `-`, or when neither is given). One newline
 * at the end of a file or of standard input is removed, since most tools add it.
 * @param what names the text in messages, such as "prompt".
 * @throws UsageError when both are given, the file cannot be read, the bytes are not UTF-8, or standard input is a terminal that nobody
 * asked to read.
 */
export async function readText(what: string, text: string | undefined, file: string | undefined): Promise<string> {
  if (text !== undefined && file !== undefined) throw new UsageError(`give the ${what} or --file, not both`)
  if (text !== undefined && text !== "-") return text
  if (file !== undefined) return withoutLastNewline(readFile(what, file))
  if (text === undefined && isatty(0)) {
    throw new UsageError(
      `give the ${what} as an argument, with --file, or through a pipe (- reads the terminal until Ctrl-D)`,
    )
  }
  return withoutLastNewline(decode(await Bun.stdin.bytes(), "standard input"))
}

/** Reads a text file. @throws UsageError when it cannot be read or is not UTF-8. */
export function readFile(what: string, file: string): string {
  let bytes: Uint8Array
  try {
    bytes = readFileSync(file)
  } catch (error) {
    throw new UsageError(`cannot read the ${what}: ${error instanceof Error ? error.message : String(error)}`)
  }
  return decode(bytes, file)
}

function decode(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes)
  } catch {
    throw new UsageError(`${where} is not UTF-8 text; convert it first (iconv -t utf-8)`)
  }
}

const withoutLastNewline = (text: string): string => text.replace(/\r?\n$/, "")
