/** What the status item says. Pure: how the server and the runtime are comes in, text goes out. */

/** The parameters of the server's notification `understudy/status`. */
export interface RuntimeStatus {
  readonly state?: 'off' | 'starting' | 'loading' | 'compiling' | 'ready' | 'failed';
  readonly model?: string;
  /** Id of the adapter that serves; null for the base model. */
  readonly adapter?: string | null;
  readonly adapterName?: string | null;
  readonly strength?: number;
  /** 0 to 1 while loading or compiling. */
  readonly progress?: number | null;
  readonly message?: string;
  /** There is no model on this machine yet; with a broken one it is false. */
  readonly noModel?: boolean;
  /** A command that mends what `message` tells. */
  readonly remedy?: string | null;
  /** The host that code is sent to, if the model is not on this machine. */
  readonly remote?: string | null;
  readonly latencyMs?: number;
  /** A night that goes on, whoever began it: how far its stage is, 0 to 1, if that can be told. */
  readonly night?: { readonly share?: number; readonly sentence: string } | null;
  /** Why the last request had no answer. */
  readonly skip?: string | null;
  readonly sentence?: string;
  /** Switched off everywhere. */
  readonly disabled?: boolean;
  readonly languagesOff?: readonly string[];
  readonly foldersOff?: readonly string[];
}

/** The language server, as this window sees it. */
export type ServerState =
  | { readonly kind: 'starting' | 'running' }
  | { readonly kind: 'missing' | 'stopped'; readonly reason: string }
  | { readonly kind: 'waiting'; readonly delayMs: number };

/** What the status is made of. */
export interface Standing {
  readonly server: ServerState;
  readonly runtime: RuntimeStatus;
}

export interface Shown {
  readonly text: string;
  /** Lines of Markdown. */
  readonly tooltip: readonly string[];
  readonly tone: 'plain' | 'warning' | 'error';
  /** What a click runs, in place of opening the menu. */
  readonly command?: string;
}

const LONGEST_NAME = 24;

/** Whether there is a model that serves or is about to. */
export function hasModel({ state }: RuntimeStatus): boolean {
  return state === 'loading' || state === 'compiling' || state === 'ready';
}

export function statusShown(standing: Standing): Shown {
  return ofServer(standing.server) ?? withNight(ofRuntime(standing), standing.runtime);
}

function withNight(shown: Shown, { night }: RuntimeStatus): Shown {
  if (!night) {
    return shown;
  }
  const share = night.share === undefined ? '' : percent(night.share);
  return { ...shown, text: `${shown.text} · learning${share}`, tooltip: [...shown.tooltip, night.sentence] };
}

function ofServer(server: ServerState): Shown | undefined {
  switch (server.kind) {
    case 'running':
      return undefined;
    case 'starting':
      return { text: '$(loading~spin) Understudy', tooltip: ['The language server is starting.'], tone: 'plain' };
    case 'waiting':
      return {
        text: '$(debug-restart) Understudy',
        tooltip: [`The language server ended; it starts again in ${seconds(server.delayMs)}.`],
        tone: 'warning',
      };
    case 'missing':
      return { text: '$(warning) Understudy: no command', tooltip: [server.reason], tone: 'warning' };
    case 'stopped':
      return { text: '$(error) Understudy: stopped', tooltip: [server.reason], tone: 'error' };
  }
}

function ofRuntime(standing: Standing): Shown {
  const { runtime } = standing;
  if (runtime.disabled) {
    return { text: '$(eye-closed) Understudy: off', tooltip: ['Suggestions are switched off.'], tone: 'plain' };
  }
  if (runtime.noModel) {
    return {
      text: '$(cloud-download) Understudy: no model yet',
      tooltip: ['There is no model yet, so nothing is suggested. A click sets one up.'],
      tone: 'warning',
      command: 'understudy.setup',
    };
  }
  switch (runtime.state) {
    case 'ready':
      return ready(standing);
    case 'loading':
    case 'compiling': {
      const share = typeof runtime.progress === 'number' ? percent(runtime.progress) : '';
      const doing = runtime.message || `the model is ${runtime.state}`;
      return { text: `$(loading~spin) Understudy: ${runtime.state}${share}`, tooltip: [doing], tone: 'plain' };
    }
    case 'failed':
      return { text: '$(error) Understudy: failed', tooltip: withRemedy(runtime), tone: 'error' };
    case 'off':
      return {
        text: '$(circle-slash) Understudy: no runtime',
        tooltip: withRemedy(runtime),
        tone: runtime.message ? 'warning' : 'plain',
      };
    default:
      return { text: '$(loading~spin) Understudy', tooltip: ['The runtime is starting.'], tone: 'plain' };
  }
}

function ready({ runtime }: Standing): Shown {
  const model = runtime.model?.split(' ')[0] || 'Understudy';
  const adapter = runtime.adapterName;
  const strength = runtime.strength ?? 1;
  const voice = adapter ? `${short(model)} + ${short(adapter)}${strength === 1 ? '' : ` × ${strength}`}` : short(model);
  const latency = runtime.latencyMs === undefined ? '' : ` · ${runtime.latencyMs} ms`;
  const where = runtime.remote ? ` · remote: ${runtime.remote}` : '';
  return {
    text: `${where ? '$(cloud)' : '$(sparkle)'} ${voice}${where}${latency}`,
    tooltip: [
      `Model: ${runtime.model}`,
      ...(runtime.remote ? [`Your code is sent to ${runtime.remote}, as the settings say.`] : []),
      adapter ? `Adapter: ${adapter}, strength ${strength}` : 'Adapter: none (base model)',
      ...(runtime.latencyMs === undefined ? [] : [`Last suggestion after ${runtime.latencyMs} ms`]),
      ...(runtime.skip && runtime.sentence ? [`Last request: ${runtime.sentence}`] : []),
    ],
    tone: 'plain',
  };
}

function withRemedy(runtime: RuntimeStatus): string[] {
  const message = runtime.message || 'The runtime does not run; it starts when it is needed.';
  return runtime.remedy ? [message, `To mend it: \`${runtime.remedy}\``] : [message];
}

function percent(share: number): string {
  return ` ${Math.round(100 * share)} %`;
}

function short(name: string): string {
  return name.length <= LONGEST_NAME ? name : `${name.slice(0, LONGEST_NAME - 1)}…`;
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toLocaleString('en', { maximumFractionDigits: 1 })} s`;
}
