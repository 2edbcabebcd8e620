/** Learning from the images of a project, on the service that has it. */

import type { ImprovementState, ImprovingService } from "../session/improvement";
import type { ServiceBackend } from "./backend";

const ADDRESS = "v1/project/improvement";

/** What the service says. */
interface Answer {
  readonly state: "none" | "running" | "done" | "failed" | "canceled";
  readonly stage: string | null;
  readonly share: number | null;
  readonly images: number;
  readonly scores: { readonly before: Means; readonly after: Means; readonly keep_text: readonly string[] } | null;
  readonly message: string | null;
  readonly can_finetune: boolean;
}

interface Means {
  readonly miou: number | null;
  readonly accuracy: number | null;
  readonly words: Readonly<Record<string, number | null>>;
}

export class ServiceImprovement implements ImprovingService {
  canFinetune = false;

  constructor(private readonly service: ServiceBackend) {}

  state(): Promise<ImprovementState> {
    return this.asked({});
  }

  start(finetune: boolean): Promise<ImprovementState> {
    const headers = { "Content-Type": "application/json" };
    return this.asked({ method: "POST", headers, body: JSON.stringify({ finetune }) });
  }

  cancel(): Promise<ImprovementState> {
    return this.asked({ method: "DELETE" });
  }

  private async asked(init: RequestInit): Promise<ImprovementState> {
    const response = await this.service.request(ADDRESS, init, new AbortController().signal);
    const answer = (await response.json()) as Answer;
    this.canFinetune = answer.can_finetune;
    return stateOf(answer);
  }
}

/** What an answer means for the page. */
export function stateOf({ state, stage, share, images, scores, message }: Answer): ImprovementState {
  if (state === "none" || state === "canceled") return { kind: state };
  if (state === "running") return { kind: state, stage: stage ?? "", share: share ?? 0 };
  if (state === "failed") return { kind: state, message: message ?? "It failed; the service's log has the reason." };
  if (!scores) return { kind: state, gains: null, message };
  const { before, after, keep_text } = scores;
  const words = Object.keys(before.words).map((name) => {
    return { name, before: before.words[name], after: after.words[name] ?? null, keepsText: keep_text.includes(name) };
  });
  const means = ({ miou, accuracy }: Means) => ({ miou: miou ?? NaN, accuracy: accuracy ?? NaN });
  return { kind: state, gains: { images, words, before: means(before), after: means(after) }, message };
}
