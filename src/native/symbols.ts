/**
 * The library's symbols as checked functions. `bun:ffi` silently turns a missing argument into 0 and
 * `undefined` into NULL, so each call checks count, type and range of its arguments, and turns a status into a NativeError.
 */

import { dlopen, FFIType, type Pointer, ptr } from "bun:ffi"
import { expectedLayout, layoutDifference, STATUSES, type StatusName } from "./abi.ts"
import { NativeError } from "./errors.ts"

interface Kinds {
  u32: number
  u64: number | bigint
  /** Memory that the library reads or writes during the call. */
  mem: ArrayBufferView
  /** The same, where NULL is allowed. An empty view is passed as NULL. */
  mem0: ArrayBufferView | null
  /** The address of memory that the caller keeps alive, see `stablePointer`. */
  addr: Pointer
}

type Kind = keyof Kinds
type Args<Signature extends readonly Kind[]> = { [I in keyof Signature]: Kinds[Signature[I]] }

/** The parameters of every function of hip/abi.h. */
const SIGNATURES = {
  rf_layout: ["mem", "u64"],
  rf_last_error: ["mem", "u64"],
  rf_device_count: ["mem"],
  rf_device_info: ["u32", "mem"],
  rf_model_open: ["u32", "u32", "mem0", "u64", "u32", "mem0", "u64", "mem0", "u64", "mem"],
  rf_model_upload: ["u64", "u64", "mem", "mem"],
  rf_model_close: ["u64"],
  rf_context_open: ["u64", "mem", "mem", "u64", "mem0", "u64", "mem0", "u64", "mem"],
  rf_context_info: ["u64", "mem"],
  rf_context_close: ["u64"],
  rf_step: ["u64", "addr", "u64", "addr", "u64"],
  rf_buffer_read: ["u64", "u32", "u64", "mem", "u64"],
  rf_buffer_write: ["u64", "u32", "u64", "mem", "u64"],
  rf_dequantize: ["u32", "mem", "u64", "mem", "u64"],
  rf_read_bandwidth: ["u32", "u32", "u64", "mem"],
  rf_matrix_rate: ["u32", "mem"],
} as const satisfies Record<string, readonly Kind[]>

type SymbolName = keyof typeof SIGNATURES

/** Every function of the ABI; each throws NativeError for a status other than OK and TypeError for a wrong argument. */
export type Symbols = { readonly [Name in SymbolName]: (...args: Args<(typeof SIGNATURES)[Name]>) => void }

const FFI_TYPES: Record<Kind, FFIType> = {
  u32: FFIType.u32,
  u64: FFIType.u64,
  mem: FFIType.ptr,
  mem0: FFIType.ptr,
  addr: FFIType.ptr,
}

const STATUS_NAMES = new Map<number, StatusName>(
  Object.entries(STATUSES).map(([name, value]) => [value, name as StatusName]),
)

/**
 * Opens the library file and proves that it was built from the same ABI as this TypeScript.
 * @throws NativeError `LIBRARY` when it cannot be opened, lacks a symbol, or has another layout.
 */
export function openSymbols(path: string): Symbols {
  const names = Object.keys(SIGNATURES) as SymbolName[]
  const declarations = Object.fromEntries(
    names.map((name) => [name, { args: SIGNATURES[name].map((kind) => FFI_TYPES[kind]), returns: FFIType.i32 }]),
  )
  let raw: Record<string, (...args: unknown[]) => unknown>
  try {
    raw = dlopen(path, declarations).symbols as typeof raw
  } catch (cause) {
    throw new NativeError(
      "LIBRARY",
      `${path} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
    )
  }
  const symbols = {} as Record<SymbolName, (...args: unknown[]) => void>
  const lastError = () => {
    const text = new Uint8Array(1024)
    return raw.rf_last_error?.(text, text.length) === STATUSES.OK ? cString(text) : "no message"
  }
  for (const name of names) symbols[name] = checked(name, raw[name], lastError)

  const layout = new Uint8Array(64 * 1024)
  symbols.rf_layout(layout, layout.length)
  const difference = layoutDifference(expectedLayout(), cString(layout))
  if (difference !== undefined) {
    throw new NativeError("LIBRARY", `${path} was built from other sources: ${difference}`, "run `bun run build`")
  }
  return symbols as unknown as Symbols
}

function checked(
  name: SymbolName,
  call: ((...args: unknown[]) => unknown) | undefined,
  lastError: () => string,
): (...args: unknown[]) => void {
  if (call === undefined) throw new NativeError("LIBRARY", `the library has no ${name}`)
  const kinds: readonly Kind[] = SIGNATURES[name]
  return (...args) => {
    if (args.length !== kinds.length) throw new TypeError(`${name} takes ${kinds.length} arguments, not ${args.length}`)
    for (let i = 0; i < kinds.length; i++) {
      const kind = kinds[i] as Kind
      if (!accepts(kind, args[i])) throw new TypeError(`${name}: argument ${i} is not a valid ${kind}`)
      if (kind === "mem0" && args[i] !== null && (args[i] as ArrayBufferView).byteLength === 0) args[i] = null
    }
    const status = call(...args)
    if (status === STATUSES.OK) return
    const statusName = STATUS_NAMES.get(Number(status))
    if (statusName === undefined || statusName === "OK") {
      throw new NativeError("INTERNAL", `${name} returned the unknown status ${String(status)}`)
    }
    throw new NativeError(statusName, lastError())
  }
}

function accepts(kind: Kind, value: unknown): boolean {
  switch (kind) {
    case "u32":
      return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffffffff
    case "u64":
      if (typeof value === "bigint") return value >= 0n && value < 1n << 64n
      return Number.isSafeInteger(value) && (value as number) >= 0
    case "mem":
      return ArrayBuffer.isView(value) && value.byteLength > 0
    case "mem0":
      return value === null || ArrayBuffer.isView(value)
    case "addr":
      return Number.isSafeInteger(value) && (value as number) > 0
  }
}

/**
 * The address of a view's memory, for memory that is passed again and again. It stays valid as long as the caller holds the
 * view and its buffer is not detached. Reading `.buffer` first is necessary: it moves a small array out of the JavaScript heap.
 */
export function stablePointer(view: ArrayBufferView): Pointer {
  if (view.buffer.byteLength === 0) throw new TypeError("empty memory has no address")
  return ptr(view as Uint8Array)
}

function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
}
