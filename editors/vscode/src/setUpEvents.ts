/** What `understudy setup --json` prints, one event a line. Pure: lines come in, words for a window go out. */

export interface Plan {
  readonly event: 'plan';
  /** The name under which it will be on this machine; `understudy setup --model` takes it. */
  readonly model: string;
  readonly title: string;
  readonly quantization: string;
  readonly licence: string;
  readonly non_commercial: boolean;
  /** 0 if it is on this machine. */
  readonly download_bytes: number;
  readonly disk_bytes: number;
  readonly reason: string;
  /** Other models, each as `NAME: what to expect of it`. */
  readonly alternatives: readonly string[];
}

export interface Progress {
  readonly event: 'progress';
  readonly stage: string;
  readonly done: number;
  /** In bytes; 0 if it is not known. */
  readonly total: number;
  readonly text: string;
}

export type SetUpEvent =
  | Plan
  | Progress
  | { readonly event: 'machine' }
  | { readonly event: 'done'; readonly model: string; readonly changed: boolean; readonly seconds: number }
  | { readonly event: 'failed'; readonly message: string; readonly fix: string | null };

/** How a set-up ended; `undefined` if it said neither. */
export type Outcome = { readonly ok: boolean; readonly message: string } | undefined;

const STAGES: Readonly<Record<string, string>> = {
  measure: 'measuring this machine',
  fetch: 'downloading',
  import: 'importing',
  compile: 'compiling',
  warm: 'starting',
};
const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/** The event of a line; undefined if the line is none. */
export function eventOf(line: string): SetUpEvent | undefined {
  try {
    const found: unknown = JSON.parse(line);
    return typeof found === 'object' && found !== null && 'event' in found ? (found as SetUpEvent) : undefined;
  } catch {
    return undefined;
  }
}

/** How far it is, in a few words; undefined if the line says something else. */
export function progressOf(line: string): string | undefined {
  const event = eventOf(line);
  if (event?.event !== 'progress') {
    return undefined;
  }
  const stage = STAGES[event.stage] ?? event.stage;
  if (event.total > 0) {
    return `${stage}: ${size(event.done)} of ${size(event.total)}`;
  }
  return event.text ? `${stage}: ${event.text}` : stage;
}

/** What is about to be done, if nothing came in between. */
export function planOf(lines: readonly string[]): Plan | undefined {
  return lines.map(eventOf).find((event) => event?.event === 'plan');
}

export function outcomeOf(lines: readonly string[]): Outcome {
  const last = lines.map(eventOf).findLast((event) => event?.event === 'done' || event?.event === 'failed');
  if (last?.event === 'failed') {
    return { ok: false, message: last.fix ? `${last.message}. To mend it: \`${last.fix}\`` : last.message };
  }
  if (last?.event === 'done') {
    const { model, changed } = last;
    return { ok: true, message: changed ? `${model} answers now` : `${model} answers already; nothing to do` };
  }
  return undefined;
}

/** What its user agrees to. */
export function planShown(plan: Plan): { readonly question: string; readonly detail: string } {
  const isSaid = /commercial/i.test(plan.licence);
  const licence = plan.non_commercial && !isSaid ? `${plan.licence}, NOT FOR COMMERCIAL USE` : plan.licence;
  return {
    question: `Set up ${plan.title}, ${plan.quantization}?`,
    detail: [
      `Licence: ${licence}`,
      `Download: ${plan.download_bytes ? size(plan.download_bytes) : 'nothing'}`,
      `Disk: ${plan.disk_bytes ? size(plan.disk_bytes) : 'nothing more'}`,
      `Why this one: ${plan.reason}`,
    ].join('\n'),
  };
}

/** Other models by name, each with what to expect of it. */
export function alternativesOf(plan: Plan | undefined): { readonly name: string; readonly words: string }[] {
  return (plan?.alternatives ?? []).map((one) => {
    const [name = one] = one.split(':', 1);
    return { name, words: one.slice(name.length + 1).trim() };
  });
}

/** In decimal units, as disks are sold: `491 MB`. */
export function size(bytes: number): string {
  let [amount, unit] = [bytes, 0];
  while (amount >= 999.5 && unit < UNITS.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${unit > 0 && amount < 9.95 ? amount.toFixed(1) : Math.round(amount)} ${UNITS[unit]}`;
}
