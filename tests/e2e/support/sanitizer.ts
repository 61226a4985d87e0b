/** Helpers for child processes started by `runWithAsan`. */

import { dlopen } from "bun:ffi"

const SS_DISABLE = 2

/**
 * Disables the main thread's alternate signal stack. Bun's stack starts at an address that is not a multiple of 8, and the sanitizer
 * aborts on it when it clears the stack's shadow at a C++ throw. Call it before the first native call.
 */
export function dropSignalStack(): void {
  const { symbols } = dlopen("libc.so.6", { sigaltstack: { args: ["ptr", "ptr"], returns: "i32" } })
  // stack_t: ss_sp, ss_flags and padding, ss_size
  const disabled = new BigUint64Array([0n, BigInt(SS_DISABLE), 0n])
  if (symbols.sigaltstack(disabled, null) !== 0) throw new Error("sigaltstack failed")
}

/**
 * Runs the leak check now, because Bun exits without running the exit handlers.
 * @returns 0, or 1 with a report on stderr.
 */
export function countLeaks(): number {
  const runtime = process.env.ROCMFORGE_ASAN_RUNTIME
  if (!runtime) throw new Error("the sanitizer's runtime is not loaded: start this script with runWithAsan")
  const { symbols } = dlopen(runtime, { __lsan_do_recoverable_leak_check: { args: [], returns: "i32" } })
  return symbols.__lsan_do_recoverable_leak_check()
}
