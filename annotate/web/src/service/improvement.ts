/** Learning from the images of a project, on the service that has it. */

import type { ProjectApi } from "../project/api";
import type { ImprovementState, ImprovingService } from "../session/improvement";

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

  constructor(private readonly api: ProjectApi) {}

  state(): Promise<ImprovementState> {
    return this.told(this.api.improvement());
  }

  start(finetune: boolean): Promise<ImprovementState> {
    return this.told(this.api.improve(finetune));
  }

  cancel(): Promise<ImprovementState> {
    return this.told(this.api.cancelImprovement());
  }

  private async told(asked: Promise<Answer>): Promise<ImprovementState> {
    const answer = await asked;
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
