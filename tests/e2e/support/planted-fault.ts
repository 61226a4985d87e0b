/** Child process: commits one of planted-fault.cpp's faults. Arguments: the library, and `read_past_end`, `leak` or `none`. */

import { dlopen } from "bun:ffi"
import { countLeaks } from "./sanitizer.ts"

const [library = "", fault] = process.argv.slice(2)
const { symbols } = dlopen(library, {
  read_past_end: { args: ["i32"], returns: "i32" },
  leak: { args: ["i32"], returns: "i32" },
})
if (fault === "read_past_end") symbols.read_past_end(16)
if (fault === "leak") symbols.leak(12345)
console.log(`leaks: ${countLeaks()}`)
