export const words = {
  en: {
    skip: "Skip to the content", jobs: "Jobs", data: "Data", play: "Playground", adapters: "Adapters", workers: "Workers",
    light: "Light", dark: "Dark", other: "中文", unreachable: "descant cannot be reached. Is it still running?", key: "API key", useKey: "Use this key",
    keyNeeded: "This gateway wants an API key.", keyWrong: "This API key is not known here. Ask the operator for one.", stopped: "stopped",
    line: "line {0}", none: "Nothing here yet.", newJob: "New job", base: "Base model", dataset: "Dataset", sample: "Built-in sample",
    name: "Name of the adapter", steps: "Steps", more: "More options", rank: "Rank (r)", rate: "Learning rate", lossOn: "Trained tokens",
    full: "All", completion: "Answers", last_turn: "Last answer", batch: "Rows in a step", evaluate: "Share for evaluation (0 to 0.5)", start: "Start training",
    step: "step {0} of {1}", loss: "loss {0}", speed: "{0} tokens/s", left: "{0} left", cancel: "Cancel", pause: "Pause", resume: "Resume",
    log: "Log", curve: "Loss over steps", trainLoss: "training", evalLoss: "evaluation", talk: "Talk to it", report: "Report",
    warnings: "Warnings", drop: "Drop files here, or choose them: JSONL, JSON, CSV or Parquet", choose: "Choose files", uploading: "Uploading {0}",
    uploaded: "{0}: {1} rows can be trained.", rows: "{0} rows", preview: "Preview", train: "Train on this", remove: "Delete", sure: "Delete {0}?",
    trainedOf: "row {0}: {1} of {2} tokens are trained", legend: "Green is trained, grey is context, struck out is beyond the longest length.",
    statistics: "Statistics", system: "System message", prompt: "Your question", with: "Adapters to compare (up to three)", send: "Ask", stop: "Stop",
    temperature: "Temperature", maxTokens: "Longest answer, in tokens", version: "version {0}", which: "Version", alias: "Alias", weight: "Percent of the users",
    promote: "Move the alias", rollback: "Undo the last move", published: "published {0}", lineage: "Where it comes from", metrics: "Numbers",
    onWorkers: "On workers", pin: "Pin", pinned: "pinned", pinOf: "Pin {0}", pinMeans: "Pinned, it stays in the slots of all workers and answers at once.", parent: "goes on from", job: "job", ready: "ready", draining: "leaving", starting: "starting", freeRows: "{0} of {1} rows free",
    waiting: "{0} waiting", answered: "{0} tokens answered", stepsBad: "Give a whole number of steps, 1 or more.", moved: "{0} is now version {1}.",
    received: "received", validating: "validating", validating_files: "validating", tokenizing: "tokenizing", queued: "waiting", training: "training", running: "training",
    publishing: "publishing", succeeded: "done", failed: "failed", cancelling: "cancelling", cancelled: "cancelled", paused: "paused",
    pending: "pending", downloading: "downloading", loaded: "loaded", warm: "warm", stateIs: "{0}: {1}", answering: "answering…", theBase: "base",
    newest: "The newest {0} are shown.", older: "… older lines: descant jobs watch",
  },
  zh: {
    skip: "跳到正文", jobs: "任务", data: "数据", play: "对话", adapters: "适配器", workers: "工作节点",
    light: "浅色", dark: "深色", other: "English", unreachable: "连接不上 descant，它还在运行吗？", key: "API 密钥", useKey: "使用这个密钥",
    keyNeeded: "这个网关需要 API 密钥。", keyWrong: "这里不认识这个 API 密钥，请向管理员索取。", stopped: "已停止",
    line: "第 {0} 行", none: "这里还没有内容。", newJob: "新任务", base: "基座模型", dataset: "数据集", sample: "内置示例",
    name: "适配器名称", steps: "步数", more: "更多选项", rank: "秩（r）", rate: "学习率", lossOn: "参与训练的词元",
    full: "全部", completion: "回答", last_turn: "最后一轮回答", batch: "每步行数", evaluate: "留作评估的比例（0 到 0.5）", start: "开始训练",
    step: "第 {0} 步，共 {1} 步", loss: "损失 {0}", speed: "每秒 {0} 词元", left: "剩余 {0}", cancel: "取消", pause: "暂停", resume: "继续",
    log: "日志", curve: "损失随步数的变化", trainLoss: "训练", evalLoss: "评估", talk: "和它对话", report: "报告",
    warnings: "警告", drop: "把文件拖到这里，或选择文件：JSONL、JSON、CSV 或 Parquet", choose: "选择文件", uploading: "正在上传 {0}",
    uploaded: "{0}：{1} 行可以训练。", rows: "{0} 行", preview: "预览", train: "用它训练", remove: "删除", sure: "删除 {0}？",
    trainedOf: "第 {0} 行：{2} 个词元中训练 {1} 个", legend: "绿色参与训练，灰色是上下文，划掉的超出最大长度。",
    statistics: "统计", system: "系统消息", prompt: "你的问题", with: "一起比较的适配器（最多三个）", send: "提问", stop: "停止",
    temperature: "温度", maxTokens: "回答最长词元数", version: "版本 {0}", which: "版本", alias: "别名", weight: "用户百分比",
    promote: "移动别名", rollback: "撤销上次移动", published: "发布于 {0}", lineage: "来历", metrics: "指标",
    onWorkers: "各工作节点上", pin: "固定", pinned: "已固定", pinOf: "固定{0}", pinMeans: "固定后它一直留在所有工作节点的槽位里，随时回答。", parent: "接续自", job: "任务", ready: "就绪", draining: "退出中", starting: "启动中", freeRows: "{1} 个位置中空闲 {0} 个",
    waiting: "{0} 个等待", answered: "已回答 {0} 词元", stepsBad: "步数请填 1 或更大的整数。", moved: "{0} 现在是版本 {1}。",
    received: "已收到", validating: "检查中", validating_files: "检查中", tokenizing: "分词中", queued: "等待中", training: "训练中", running: "训练中",
    publishing: "发布中", succeeded: "完成", failed: "失败", cancelling: "取消中", cancelled: "已取消", paused: "已暂停",
    pending: "等待加载", downloading: "下载中", loaded: "已加载", warm: "预热", stateIs: "{0}：{1}", answering: "回答中…", theBase: "基座",
    newest: "只显示最新的 {0} 个。", older: "… 更早的内容：descant jobs watch",
  },
};

const languageName = "descant.language";

export const language = localStorage.getItem(languageName) ?? (navigator.language.startsWith("zh") ? "zh" : "en");

// t is a text in the language of the page, with its places filled in.
export function t(key, ...values) {
  return words[language][key].replace(/\{(\d)\}/g, (_, i) => values[i]);
}

// switchLanguage shows the page in the other language.
export function switchLanguage() {
  localStorage.setItem(languageName, language === "zh" ? "en" : "zh");
  location.reload();
}

// number is a number as people write it.
export function number(value, digits = 0) {
  return value.toLocaleString(language, { maximumFractionDigits: digits });
}

// duration is a time in seconds as people say it.
export function duration(seconds) {
  const s = Math.round(seconds), two = (n) => String(n).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

// when is a moment as people write it.
export function when(moment) {
  return new Date(moment).toLocaleString(language);
}
