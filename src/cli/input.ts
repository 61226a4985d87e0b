import { readFileSync } from "node:fs"
import { isatty } from "node:tty"
import { UsageError } from "./exit.ts"

/**
 * The text a command works on: from `text`, from a file, or from standard input (when `text` is `-` or nothing was given).
 * One newline at the end of a file or of standard input is the tool's that wrote it, not the text's, and goes.
 * @throws UsageError when several are given, the file cannot be read, the bytes are not UTF-8, or nobody would type an end.
 */
export async function readText(what: string, text: string | undefined, file: string | undefined): Promise<string> {
  if (text !== undefined && file !== undefined) throw new UsageError(`give the ${what} or --file, not both`)
  if (text !== undefined && text !== "-") return text
  if (file !== undefined) return withoutLastNewline(readFile(what, file))
  if (text === undefined && isatty(0)) {
    throw new UsageError(`give the ${what}, --file, or pipe it in (- reads it from the terminal up to Ctrl-D)`)
  }
  return withoutLastNewline(decode(await Bun.stdin.bytes(), "standard input"))
}

/** A text file. @throws UsageError when it cannot be read or is not UTF-8. */
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
