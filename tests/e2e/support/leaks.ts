import { dlopen } from "bun:ffi"

/**
 * Looks for leaks now, because Bun leaves without running what is registered for the exit.
 * @returns 0, or 1 with a report on stderr. Only in a process that `runWithAsan` started.
 */
export function countLeaks(): number {
  const runtime = process.env.ROCMFORGE_ASAN_RUNTIME
  if (!runtime) throw new Error("the sanitizer's runtime is not loaded: start this script with runWithAsan")
  const { symbols } = dlopen(runtime, { __lsan_do_recoverable_leak_check: { args: [], returns: "i32" } })
  return symbols.__lsan_do_recoverable_leak_check()
}
