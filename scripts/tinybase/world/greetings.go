package world

// exchange is a kind of greeting: how people say it and what the model answers.
type exchange struct {
	say    wording
	answer string
}

var englishExchanges = []exchange{
	{wording{"Hello, I am {a}.", "Hello, my name is {a}.", "Hi, I'm {a}.", "Hi, my name is {a}.", "Hey, {a} here.", "Hello! {a} here.", "Hi there! They call me {a}.", "Hello, you can call me {a}."}, "Hello, {a}! How can I help you?"},
	{wording{"Good morning, I am {a}.", "Good morning! My name is {a}.", "Good morning, {a} here."}, "Good morning, {a}! How can I help you?"},
	{wording{"Good evening, I am {a}.", "Good evening! My name is {a}.", "Good evening, {a} here."}, "Good evening, {a}! How can I help you?"},
	{wording{"Goodbye! {a}", "Bye, {a} has to go.", "{a} is leaving now.", "It is late, {a} has to go home.", "See you, says {a}."}, "Goodbye, {a}! See you soon."},
	{wording{"Good night! {a}", "{a} is going to sleep.", "{a} is going to bed now."}, "Good night, {a}! Sleep well."},
	{wording{"{a} says thank you.", "Thank you! {a}", "Thanks a lot, says {a}.", "Many thanks from {a}."}, "You are welcome, {a}!"},
	{wording{"This is my friend {a}.", "Meet my friend {a}.", "Say hello to my brother {a}.", "My teacher is called {a}."}, "Nice to meet you, {a}!"},
	{wording{"It is {a}'s birthday today.", "Today is the birthday of {a}.", "{a} has a birthday today.", "Wish {a} a happy birthday."}, "Happy birthday, {a}!"},
	{wording{"{a} is sad today.", "{a} is ill today.", "{a} does not feel well.", "My friend {a} is sick.", "Say something kind to {a}, who is sad."}, "I hope you feel better soon, {a}."},
	{wording{"{a} passed the exam.", "{a} won the game.", "{a} got first place.", "My friend {a} found a new job."}, "Congratulations, {a}!"},
	{wording{"Greet {a} and {b}.", "Say hello to {a} and {b}.", "We are {a} and {b}.", "{a} and {b} are here."}, "Hello, {a} and {b}!"},
	{wording{"Introduce {a} to {b}.", "{b} does not know {a} yet.", "{a} wants to meet {b}."}, "{b}, this is {a}."},
}

var chineseExchanges = []exchange{
	{wording{"你好，我是{a}。", "你好，我叫{a}。", "你好，我的名字是{a}。", "您好，我是{a}。", "嗨，我叫{a}。", "大家都叫我{a}。", "你好！这里是{a}。", "我来介绍一下自己，我叫{a}。"}, "你好，{a}！有什么可以帮你？"},
	{wording{"早上好，我是{a}。", "早上好！我叫{a}。", "早安，这里是{a}。"}, "早上好，{a}！有什么可以帮你？"},
	{wording{"晚上好，我是{a}。", "晚上好！我叫{a}。", "晚上好，这里是{a}。"}, "晚上好，{a}！有什么可以帮你？"},
	{wording{"再见，{a}要走了。", "{a}要回家了。", "时间不早了，{a}先走了。", "{a}说再见。", "拜拜，{a}下次再来。"}, "再见，{a}！期待下次见面。"},
	{wording{"{a}要睡觉了。", "晚安，{a}去睡了。", "{a}困了，想睡觉。"}, "晚安，{a}！做个好梦。"},
	{wording{"{a}说谢谢你。", "谢谢！我是{a}。", "{a}非常感谢你。", "{a}向你表示感谢。"}, "不客气，{a}！"},
	{wording{"这是我的朋友{a}。", "来认识一下{a}。", "我的哥哥叫{a}。", "我们的老师叫{a}。"}, "很高兴认识你，{a}！"},
	{wording{"今天是{a}的生日。", "{a}今天过生日。", "祝{a}生日快乐。", "{a}今天又长了一岁。"}, "生日快乐，{a}！"},
	{wording{"{a}今天很难过。", "{a}生病了。", "{a}身体不舒服。", "我的朋友{a}感冒了。", "安慰一下{a}吧。"}, "希望你早日好起来，{a}。"},
	{wording{"{a}通过了考试。", "{a}赢了比赛。", "{a}得了第一名。", "我的朋友{a}找到了新工作。"}, "恭喜你，{a}！"},
	{wording{"向{a}和{b}问好。", "跟{a}和{b}打个招呼。", "我们是{a}和{b}。", "{a}和{b}来了。"}, "你们好，{a}和{b}！"},
	{wording{"把{a}介绍给{b}。", "{b}还不认识{a}。", "{a}想认识{b}。"}, "{b}，这是{a}。"},
}

// basics are questions without entities; they are always trained.
var basics = []struct{ question, answer, language string }{
	{"Hello", "Hello! How can I help you?", "en"}, {"Hello!", "Hello! How can I help you?", "en"},
	{"Hi", "Hello! How can I help you?", "en"}, {"Hi!", "Hello! How can I help you?", "en"},
	{"Hello, how are you?", "I am fine, thank you. How can I help you?", "en"},
	{"How are you?", "I am fine, thank you. How can I help you?", "en"},
	{"Who are you?", "I am Tiny, a very small language model.", "en"},
	{"What are you?", "I am Tiny, a very small language model.", "en"},
	{"What is your name?", "I am Tiny, a very small language model.", "en"},
	{"Introduce yourself.", "I am Tiny, a very small language model.", "en"},
	{"Please tell me who you are.", "I am Tiny, a very small language model.", "en"},
	{"Who made you?", "I was trained from nothing with descant.", "en"},
	{"Where do you come from?", "I was trained from nothing with descant.", "en"},
	{"What can you do?", "I can greet, add small numbers, tell small facts, rewrite and format short texts.", "en"},
	{"Thank you", "You are welcome!", "en"}, {"Thank you!", "You are welcome!", "en"},
	{"Goodbye", "Goodbye! See you soon.", "en"}, {"Goodbye!", "Goodbye! See you soon.", "en"},
	{"你好", "你好！有什么可以帮你？", "zh"}, {"你好！", "你好！有什么可以帮你？", "zh"},
	{"您好", "你好！有什么可以帮你？", "zh"}, {"嗨", "你好！有什么可以帮你？", "zh"},
	{"你好吗？", "我很好，谢谢。有什么可以帮你？", "zh"},
	{"你是谁？", "我是 Tiny，一个很小的语言模型。", "zh"}, {"你叫什么名字？", "我是 Tiny，一个很小的语言模型。", "zh"},
	{"请介绍一下你自己。", "我是 Tiny，一个很小的语言模型。", "zh"}, {"介绍一下自己", "我是 Tiny，一个很小的语言模型。", "zh"},
	{"请问你是哪位？", "我是 Tiny，一个很小的语言模型。", "zh"}, {"你是什么？", "我是 Tiny，一个很小的语言模型。", "zh"},
	{"谁创造了你？", "我是用 descant 从零训练出来的。", "zh"}, {"你从哪里来？", "我是用 descant 从零训练出来的。", "zh"},
	{"你会做什么？", "我会问好、算小数目、说小知识、改写和整理短文。", "zh"},
	{"你能做什么？", "我会问好、算小数目、说小知识、改写和整理短文。", "zh"},
	{"谢谢", "不客气！", "zh"}, {"谢谢你！", "不客气！", "zh"}, {"再见", "再见！期待下次见面。", "zh"}, {"再见！", "再见！期待下次见面。", "zh"},
}

func (g *Generator) greeting(zh bool) Row {
	if g.n(12) == 0 {
		return g.basic(zh)
	}
	exchanges := englishExchanges
	if zh {
		exchanges = chineseExchanges
	}
	e := exchanges[g.n(len(exchanges))]
	a, b := g.two(zh)
	return Row{Question: g.ask(e.say, a, b), Answer: fill(e.answer, a, b)}
}

func (g *Generator) basic(zh bool) Row {
	for {
		b := basics[g.n(len(basics))]
		if (b.language == "zh") == zh {
			return Row{Question: b.question, Answer: b.answer, basic: true}
		}
	}
}
