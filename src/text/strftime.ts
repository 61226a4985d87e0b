const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
]

const pad = (value: number, width = 2) => String(value).padStart(width, "0")

/** Formats a local date as C's strftime does, with English names. An unknown directive is left unchanged. */
export function strftime(date: Date, format: string): string {
  const day = DAYS[date.getDay()] as string
  const month = MONTHS[date.getMonth()] as string
  const hour = date.getHours()
  const dayOfYear = () => {
    const today = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate())
    return (today - Date.UTC(date.getFullYear(), 0, 0)) / 86_400_000
  }
  const directives: Record<string, () => string> = {
    a: () => day.slice(0, 3),
    A: () => day,
    b: () => month.slice(0, 3),
    B: () => month,
    d: () => pad(date.getDate()),
    e: () => String(date.getDate()).padStart(2, " "),
    F: () => `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`,
    H: () => pad(hour),
    I: () => pad(hour % 12 || 12),
    j: () => pad(dayOfYear(), 3),
    m: () => pad(date.getMonth() + 1),
    M: () => pad(date.getMinutes()),
    p: () => (hour < 12 ? "AM" : "PM"),
    S: () => pad(date.getSeconds()),
    T: () => `${pad(hour)}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`,
    y: () => pad(date.getFullYear() % 100),
    Y: () => String(date.getFullYear()),
    "%": () => "%",
  }
  // %-d and the like drop the padding.
  return format.replace(/%(-?)([a-zA-Z%])/g, (written, bare: string, letter: string) => {
    const value = directives[letter]?.()
    if (value === undefined) return written
    return bare ? value.replace(/^[0 ]+(?=.)/, "") : value
  })
}
