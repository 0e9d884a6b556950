--- `:Understudy setup`: says which model fits this machine, and brings it. `understudy setup --json` does the work.
local config = require('understudy.config')
local executable = require('understudy.executable')

local M = {}

local SHOW_EVERY_MS = 250
local SIGINT = 2
local STAGES = {
  measure = 'measuring this machine',
  fetch = 'downloading',
  import = 'importing',
  compile = 'compiling',
  warm = 'starting',
}
local UNITS = { 'bytes', 'kB', 'MB', 'GB', 'TB' }
local YES, NO = 'Yes', 'No'

---@class understudy.SetupRun
---@field process vim.SystemObj?
---@field words string how far it is
---@field shown_ms integer when that was shown
---@field is_stopped boolean by the user

local running ---@type understudy.SetupRun? one at a time

---@param message string
---@param level? integer
local function tell(message, level)
  vim.notify('understudy: ' .. message, level or vim.log.levels.INFO)
end

--- In decimal units, as disks are sold: `491 MB`.
---@param bytes number
---@return string
local function size(bytes)
  local unit = 1
  while bytes >= 999.5 and unit < #UNITS do
    bytes, unit = bytes / 1000, unit + 1
  end
  return ((unit > 1 and bytes < 9.95) and '%.1f %s' or '%.0f %s'):format(bytes, UNITS[unit])
end

--- How far it is, in a few words.
---@param event {stage: string, done: number, total: number, text: string}
---@return string
function M.progress_words(event)
  local stage = STAGES[event.stage] or event.stage
  if event.total > 0 then
    return ('%s: %s of %s'):format(stage, size(event.done), size(event.total))
  end
  return event.text ~= '' and ('%s: %s'):format(stage, event.text) or stage
end

---@class understudy.SetupPlan
---@field model string
---@field title string
---@field quantization string
---@field licence string
---@field non_commercial boolean
---@field download_bytes number 0 if it is on this machine
---@field disk_bytes number
---@field reason string
---@field alternatives string[] each as `NAME: what to expect of it`

--- What its user agrees to, in a line.
---@param plan understudy.SetupPlan
---@return string
function M.question(plan)
  local is_said = plan.licence:lower():find('commercial', 1, true)
  local licence = plan.licence .. (plan.non_commercial and not is_said and ', NOT FOR COMMERCIAL USE' or '')
  local download = plan.download_bytes > 0 and size(plan.download_bytes) .. ' to download' or 'nothing to download'
  local disk = plan.disk_bytes > 0 and (', %s of disk'):format(size(plan.disk_bytes)) or ''
  return ('Set up %s, %s (licence: %s; %s%s)?'):format(plan.title, plan.quantization, licence, download, disk)
end

--- Below the cursor's line, unless something else is being asked there; never so long that it wants Enter.
---@param words string
local function echo(words)
  if not vim.api.nvim_get_mode().mode:find('^[cr]') then
    local line = vim.fn.strcharpart('understudy: ' .. words, 0, vim.v.echospace)
    vim.api.nvim_echo({ { line } }, false, {})
  end
end

---@param run understudy.SetupRun
---@param words string
local function show(run, words)
  local stage, last_stage = words:match('^[^:]*'), run.words:match('^[^:]*')
  run.words = words
  if stage ~= last_stage or vim.uv.now() - run.shown_ms >= SHOW_EVERY_MS then
    run.shown_ms = vim.uv.now()
    vim.schedule(function()
      if running == run then
        echo(words)
      end
    end)
  end
end

--- Run `understudy setup --json WORDS`.
---@param words string[]
---@param done fun(last: table?, errors: string) with the last event that is no progress; not called if its user stopped it
local function start(words, done)
  local command = executable.find(config.options.command)
  if not command then
    return tell('the command was not found; ' .. executable.HOW_TO_GET_IT, vim.log.levels.WARN)
  end
  local run = { words = 'starting', shown_ms = 0, is_stopped = false } ---@type understudy.SetupRun
  local rest, last = '', nil
  local function take(_, data)
    local lines = vim.split(rest .. (data or ''), '\n', { plain = true })
    rest = table.remove(lines)
    for _, line in ipairs(lines) do
      local ok, event = pcall(vim.json.decode, line, { luanil = { object = true } })
      if ok and type(event) == 'table' and event.event == 'progress' then
        show(run, M.progress_words(event))
      elseif ok and type(event) == 'table' and event.event then
        last = event
      end
    end
  end
  run.process = vim.system(vim.list_extend(vim.list_extend(vim.deepcopy(command), { 'setup', '--json' }), words), {
    text = true,
    stdout = take,
    env = { NO_COLOR = '1' },
  }, function(ended)
    vim.schedule(function()
      running = nil
      if run.is_stopped and not (last and last.event == 'done') then
        tell('stopped; `:Understudy setup` goes on from there')
      else
        done(last, vim.trim(ended.stderr or ''))
      end
    end)
  end)
  running = run
end

--- How it ended.
---@param last table?
---@param errors string
local function tell_end(last, errors)
  if last and last.event == 'done' then
    return tell(last.model .. (last.changed and ' answers now' or ' answers already'))
  end
  local message = last and last.message or errors ~= '' and errors or 'the set-up ended without a word'
  tell(message .. (last and last.fix and ('\nto mend it: ' .. last.fix) or ''), vim.log.levels.WARN)
end

local propose

--- Ask, then bring it, or propose another one.
---@param plan understudy.SetupPlan
---@param wanted string?
local function ask(plan, wanted)
  local items = { ('%s: %s'):format(YES, plan.reason) }
  vim.list_extend(items, plan.alternatives)
  items[#items + 1] = NO
  vim.ui.select(items, { prompt = M.question(plan) }, function(item, index)
    vim.cmd.redraw()
    if index == 1 then
      start({ '--yes', '--model=' .. (wanted or plan.model) }, tell_end)
    elseif item and item ~= NO then
      propose(item:match('^[^:]*'))
    end
  end)
end

---@param wanted string?
propose = function(wanted)
  start(wanted and { '--model=' .. wanted } or {}, function(last, errors)
    if last and last.event == 'plan' then
      return ask(last, wanted)
    end
    tell_end(last, errors)
  end)
end

--- As Ctrl-C does in a terminal.
local function stop()
  if running and running.process then
    running.is_stopped = true
    running.process:kill(SIGINT)
  end
end

--- Propose a model for this machine, or the one that is named, and set it up; while that goes on, ask whether to stop it.
---@param wanted string? a name of the catalogue, a path, or `ollama:NAME` and the like
function M.run(wanted)
  if not running then
    echo('looking for a model that fits this machine')
    vim.api.nvim_create_autocmd('VimLeavePre', {
      group = vim.api.nvim_create_augroup('understudy_setup', { clear = true }),
      callback = stop,
    })
    return propose(wanted)
  end
  local question = ('A model is being set up (%s). Stop it?'):format(running.words)
  local is_stop = vim.fn.confirm(question, '&Stop\n&Go on', 2) == 1
  vim.cmd.redraw() -- the question goes, so that the next message does not wait for Enter
  if is_stop then
    stop()
  end
end

return M
