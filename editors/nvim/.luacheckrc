std = "luajit"
read_globals = { "vim" }
globals = { "vim.bo", "vim.env" }
max_line_length = 140
