import type { StepName, StepRecord } from '../protocol/lifecycle.ts';

/** The gateway's objects, as far as the command line reads them: see docs/api.md. */

export interface ErrorView {
  readonly code: string;
  readonly message: string;
}

export interface StepView {
  readonly number: number;
  readonly step: StepName;
  readonly plane: string;
  readonly state: StepRecord['state'];
  readonly elapsed_ms: number | null;
  readonly dispatch?: number;
  readonly node?: string;
  readonly note?: string;
}

/** How a request was checked against other nodes, if it was. */
export interface VerificationView {
  readonly sampled: boolean | null;
  readonly outcome: string | null;
  readonly message: string;
}

export interface RequestSummaryView {
  readonly id: string;
  readonly status: string;
  readonly model: string;
  readonly priority: string;
  readonly accepted_at: string;
  readonly finished_at: string | null;
  readonly reserved_wei: string;
  readonly charged_wei: string;
  readonly refunded_wei: string;
  readonly refund: ErrorView | null;
  readonly delivery: string;
  readonly verification: VerificationView;
  readonly error: ErrorView | null;
  readonly proof_of_execution: { readonly poe: string; readonly node: string } | null;
}

export interface RequestView extends RequestSummaryView {
  readonly deadline_at: string;
  readonly steps: readonly StepView[] | null;
  readonly steps_error: ErrorView | null;
  readonly result: {
    readonly choices: readonly { readonly message: { readonly content: string } }[];
    readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
  } | null;
  readonly temporal_url: string | null;
}

export interface NodeView {
  readonly id: string;
  readonly name: string;
  readonly operator: string;
  readonly tier: number;
  readonly claimed_tier: number;
  readonly model: string;
  readonly engine: string;
  readonly status: string;
  readonly online: boolean;
  /** Whether its backend can serve, by its own word. */
  readonly ready: boolean;
  readonly slots_free: number;
  readonly slots_total: number;
  readonly tokens_per_second: number;
  readonly claimed_tokens_per_second: number;
  readonly registered_at: string;
  readonly last_seen_at: string;
  readonly flags: number;
}

export interface ListView<Item> {
  readonly data: readonly Item[];
  readonly has_more?: boolean;
}

export interface RequestExplanation {
  readonly id: string;
  readonly status: string;
  readonly error: ErrorView | null;
  readonly deadline_at: string;
  readonly requirements: {
    readonly workload_class: string;
    readonly model: string;
    readonly hardware_tier: number;
    readonly deadline_seconds: number;
    readonly complexity_tokens: number;
    readonly complexity_is_lower_bound: boolean;
  };
  readonly waiting: {
    readonly since: string;
    readonly position: number;
    readonly queue_length: number;
  } | null;
  readonly attempts: readonly {
    readonly dispatch: number;
    readonly node: string;
    readonly node_name: string | null;
    readonly outcome: string | null;
    readonly is_check: boolean;
    readonly message: string;
  }[];
  readonly nodes: readonly {
    readonly id: string;
    readonly name: string;
    readonly failed_filter: string | null;
    readonly message: string;
  }[];
}

export interface NodeExplanation extends NodeView {
  readonly reasons: readonly ErrorView[];
  readonly waiting: { readonly total: number; readonly suited: number };
  readonly recent_attempts: Readonly<Record<string, number>>;
  /** How it came and went, latest first. */
  readonly events: readonly (ErrorView & { readonly created_at: string })[];
  readonly last_attempt_at: string | null;
}

/** A node that was removed or flagged. */
export interface ReviewView {
  readonly id: string;
  readonly name: string;
  readonly operator: string;
  readonly status: string;
  readonly why: ErrorView | null;
  readonly flags: Readonly<Record<string, number>>;
  readonly trust: readonly {
    readonly workload_class: string;
    readonly checked: number;
    readonly log_ratio: number;
    readonly cleared_at: string | null;
  }[];
  readonly events: readonly FlagView[];
}

export interface FlagView extends ErrorView {
  readonly unit: string;
  readonly dispatch: number;
  readonly created_at: string;
}

/** With all that was written down of it. */
export interface ReviewHistoryView extends ReviewView {
  readonly reviews: readonly {
    readonly decision: string;
    readonly why: ErrorView | null;
    readonly reviewer: string | null;
    readonly reason: string | null;
    readonly created_at: string;
  }[];
  readonly votes: readonly {
    readonly unit: string;
    readonly dispatch: number;
    readonly side: string;
    readonly outcome: string;
    readonly decided_at: string;
  }[];
  readonly has_more: boolean;
}

/** What lets nodes in. */
export interface JoinTokenView {
  readonly id: string;
  readonly uses_left: number;
  readonly created_at: string;
  readonly expires_at: string;
}

export interface NewJoinTokenView extends JoinTokenView {
  readonly token: string;
}

/** A key of the account. */
export interface ApiKeyView {
  readonly id: string;
  readonly name: string;
  /** Its first characters. */
  readonly hint: string;
  readonly status: string;
  readonly scopes: readonly string[];
  readonly is_admin: boolean;
  readonly created_at: string;
  readonly expires_at: string | null;
  readonly limits: {
    readonly budget_wei: string | null;
    readonly budget_period: string;
    readonly requests_per_minute: number | null;
    readonly tokens_per_minute: number | null;
    readonly concurrency: number | null;
  };
}

export interface NewApiKeyView extends ApiKeyView {
  readonly account: string;
  readonly key: string;
}

/** What an epoch's draws were committed to with. */
export interface EpochView {
  readonly epoch: number;
  readonly begins_at: string;
  readonly secret_hash: string;
  readonly policy: string;
  readonly policy_hash: string;
  readonly published_at: string;
  readonly secret: string | null;
  readonly revealed_at: string | null;
}

/** What was drawn for one return. */
export interface DrawView {
  readonly unit_id: string;
  readonly dispatch: number;
  readonly poe: string;
  readonly rate_ppm: number;
  readonly draw: string;
  readonly is_sampled: boolean;
  readonly stored_at: string;
  readonly workload_class: string;
  readonly outcome: string | null;
  readonly request_status: string;
}

export interface DrawsView {
  readonly scope: 'all' | 'account';
  readonly data: readonly DrawView[];
  readonly next: string | null;
}
