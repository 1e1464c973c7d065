package world

// entry is one thing of the little world with its name in both languages.
type entry struct{ en, zh string }

// country has a capital and lies on a continent.
type country struct {
	name, capital, continent entry
}

// animal has a voice (English word, Chinese word), a kind and a number of legs.
type animal struct {
	name, voice, kind entry
	legs              int
}

// thing is something with a kind and a colour.
type thing struct {
	name, kind, colour entry
}

var englishNames = []string{
	"Tom", "Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Ivy",
	"Jack", "Kate", "Leo", "Mary", "Nick", "Olga", "Paul", "Rosa", "Sam", "Tina",
	"Victor", "Wendy", "Alice", "Bob", "Cindy", "Daniel", "Eva", "Fred", "Gina", "Hugo",
	"Iris", "Jane", "Karl", "Lucy", "Mark", "Nora", "Oscar", "Peter", "Ruth", "Simon",
}

var chineseNames = []string{
	"小明", "小红", "小华", "小丽", "小刚", "小芳", "小军", "小美", "小强", "小雨",
	"小龙", "小雪", "小文", "小天", "小海", "小云", "李雷", "王芳", "张伟", "刘洋",
	"陈静", "杨光", "赵敏", "黄山", "周杰", "吴迪", "徐林", "孙丽", "马超", "朱红",
	"胡明", "郭亮", "何平", "高远", "林青", "罗成", "梁文", "宋江", "唐月", "许仙",
}

var continents = map[string]entry{
	"eu": {"Europe", "欧洲"}, "as": {"Asia", "亚洲"}, "af": {"Africa", "非洲"},
	"na": {"North America", "北美洲"}, "sa": {"South America", "南美洲"},
}

var countries = []country{
	{entry{"France", "法国"}, entry{"Paris", "巴黎"}, continents["eu"]},
	{entry{"Germany", "德国"}, entry{"Berlin", "柏林"}, continents["eu"]},
	{entry{"Italy", "意大利"}, entry{"Rome", "罗马"}, continents["eu"]},
	{entry{"Spain", "西班牙"}, entry{"Madrid", "马德里"}, continents["eu"]},
	{entry{"England", "英国"}, entry{"London", "伦敦"}, continents["eu"]},
	{entry{"Russia", "俄罗斯"}, entry{"Moscow", "莫斯科"}, continents["eu"]},
	{entry{"Greece", "希腊"}, entry{"Athens", "雅典"}, continents["eu"]},
	{entry{"Portugal", "葡萄牙"}, entry{"Lisbon", "里斯本"}, continents["eu"]},
	{entry{"Poland", "波兰"}, entry{"Warsaw", "华沙"}, continents["eu"]},
	{entry{"Austria", "奥地利"}, entry{"Vienna", "维也纳"}, continents["eu"]},
	{entry{"China", "中国"}, entry{"Beijing", "北京"}, continents["as"]},
	{entry{"Japan", "日本"}, entry{"Tokyo", "东京"}, continents["as"]},
	{entry{"Korea", "韩国"}, entry{"Seoul", "首尔"}, continents["as"]},
	{entry{"Thailand", "泰国"}, entry{"Bangkok", "曼谷"}, continents["as"]},
	{entry{"Vietnam", "越南"}, entry{"Hanoi", "河内"}, continents["as"]},
	{entry{"Mongolia", "蒙古"}, entry{"Ulan Bator", "乌兰巴托"}, continents["as"]},
	{entry{"Egypt", "埃及"}, entry{"Cairo", "开罗"}, continents["af"]},
	{entry{"Kenya", "肯尼亚"}, entry{"Nairobi", "内罗毕"}, continents["af"]},
	{entry{"Canada", "加拿大"}, entry{"Ottawa", "渥太华"}, continents["na"]},
	{entry{"Mexico", "墨西哥"}, entry{"Mexico City", "墨西哥城"}, continents["na"]},
	{entry{"Cuba", "古巴"}, entry{"Havana", "哈瓦那"}, continents["na"]},
	{entry{"Peru", "秘鲁"}, entry{"Lima", "利马"}, continents["sa"]},
	{entry{"Chile", "智利"}, entry{"Santiago", "圣地亚哥"}, continents["sa"]},
	{entry{"Brazil", "巴西"}, entry{"Brasilia", "巴西利亚"}, continents["sa"]},
}

var (
	mammal = entry{"mammal", "哺乳动物"}
	bird   = entry{"bird", "鸟"}
	insect = entry{"insect", "昆虫"}
)

var animals = []animal{
	{entry{"dog", "狗"}, entry{"woof", "汪汪"}, mammal, 4},
	{entry{"cat", "猫"}, entry{"meow", "喵喵"}, mammal, 4},
	{entry{"cow", "牛"}, entry{"moo", "哞哞"}, mammal, 4},
	{entry{"sheep", "羊"}, entry{"baa", "咩咩"}, mammal, 4},
	{entry{"pig", "猪"}, entry{"oink", "哼哼"}, mammal, 4},
	{entry{"duck", "鸭子"}, entry{"quack", "嘎嘎"}, bird, 2},
	{entry{"rooster", "公鸡"}, entry{"cock-a-doodle-doo", "喔喔"}, bird, 2},
	{entry{"lion", "狮子"}, entry{"roar", "吼吼"}, mammal, 4},
	{entry{"wolf", "狼"}, entry{"howl", "嗷嗷"}, mammal, 4},
	{entry{"crow", "乌鸦"}, entry{"caw", "哇哇"}, bird, 2},
	{entry{"bee", "蜜蜂"}, entry{"buzz", "嗡嗡"}, insect, 6},
	{entry{"frog", "青蛙"}, entry{"ribbit", "呱呱"}, entry{"amphibian", "两栖动物"}, 4},
	{entry{"snake", "蛇"}, entry{"hiss", "嘶嘶"}, entry{"reptile", "爬行动物"}, 0},
	{entry{"mouse", "老鼠"}, entry{"squeak", "吱吱"}, mammal, 4},
	{entry{"chick", "小鸡"}, entry{"cheep", "叽叽"}, bird, 2},
	{entry{"pigeon", "鸽子"}, entry{"coo", "咕咕"}, bird, 2},
}

var (
	fruit     = entry{"fruit", "水果"}
	vegetable = entry{"vegetable", "蔬菜"}
	drink     = entry{"drink", "饮料"}
	nature    = entry{"part of nature", "自然景物"}

	red    = entry{"red", "红色"}
	yellow = entry{"yellow", "黄色"}
	green  = entry{"green", "绿色"}
	orange = entry{"orange", "橙色"}
	purple = entry{"purple", "紫色"}
	white  = entry{"white", "白色"}
	brown  = entry{"brown", "棕色"}
	blue   = entry{"blue", "蓝色"}
	black  = entry{"black", "黑色"}
)

var colours = []entry{red, yellow, green, orange, purple, white, brown, blue, black}

var things = []thing{
	{entry{"apple", "苹果"}, fruit, red}, {entry{"cherry", "樱桃"}, fruit, red},
	{entry{"banana", "香蕉"}, fruit, yellow}, {entry{"lemon", "柠檬"}, fruit, yellow},
	{entry{"grape", "葡萄"}, fruit, purple}, {entry{"plum", "李子"}, fruit, purple},
	{entry{"kiwi", "猕猴桃"}, fruit, green}, {entry{"strawberry", "草莓"}, fruit, red},
	{entry{"tomato", "西红柿"}, vegetable, red}, {entry{"carrot", "胡萝卜"}, vegetable, orange},
	{entry{"cucumber", "黄瓜"}, vegetable, green}, {entry{"spinach", "菠菜"}, vegetable, green},
	{entry{"eggplant", "茄子"}, vegetable, purple}, {entry{"pumpkin", "南瓜"}, vegetable, orange},
	{entry{"milk", "牛奶"}, drink, white}, {entry{"coffee", "咖啡"}, drink, brown},
	{entry{"cola", "可乐"}, drink, black}, {entry{"snow", "雪"}, nature, white},
	{entry{"grass", "草地"}, nature, green}, {entry{"sky", "天空"}, nature, blue},
}

var opposites = []struct{ a, b entry }{
	{entry{"big", "大"}, entry{"small", "小"}}, {entry{"hot", "热"}, entry{"cold", "冷"}},
	{entry{"tall", "高"}, entry{"short", "矮"}}, {entry{"fast", "快"}, entry{"slow", "慢"}},
	{entry{"new", "新"}, entry{"old", "旧"}}, {entry{"light", "轻"}, entry{"heavy", "重"}},
	{entry{"open", "开"}, entry{"closed", "关"}}, {entry{"many", "多"}, entry{"few", "少"}},
	{entry{"near", "近"}, entry{"far", "远"}}, {entry{"early", "早"}, entry{"late", "晚"}},
	{entry{"wet", "湿"}, entry{"dry", "干"}}, {entry{"strong", "强"}, entry{"weak", "弱"}},
	{entry{"deep", "深"}, entry{"shallow", "浅"}}, {entry{"true", "真"}, entry{"false", "假"}},
	{entry{"full", "饱"}, entry{"hungry", "饿"}}, {entry{"left", "左"}, entry{"right", "右"}},
	{entry{"up", "上"}, entry{"down", "下"}}, {entry{"thick", "厚"}, entry{"thin", "薄"}},
	{entry{"bright", "亮"}, entry{"dark", "暗"}}, {entry{"hard", "硬"}, entry{"soft", "软"}},
}

var words = []entry{
	{"book", "书"}, {"pen", "笔"}, {"table", "桌子"}, {"door", "门"}, {"window", "窗户"},
	{"house", "房子"}, {"school", "学校"}, {"teacher", "老师"}, {"doctor", "医生"}, {"friend", "朋友"},
	{"mother", "妈妈"}, {"father", "爸爸"}, {"child", "孩子"}, {"water", "水"}, {"rice", "米饭"},
	{"bread", "面包"}, {"tea", "茶"}, {"egg", "鸡蛋"}, {"sun", "太阳"}, {"moon", "月亮"},
	{"star", "星星"}, {"rain", "雨"}, {"wind", "风"}, {"river", "河"}, {"tree", "树"},
	{"flower", "花"}, {"car", "汽车"}, {"train", "火车"}, {"ship", "船"}, {"road", "路"},
	{"city", "城市"}, {"music", "音乐"}, {"song", "歌"}, {"letter", "信"}, {"money", "钱"},
	{"hand", "手"}, {"eye", "眼睛"}, {"heart", "心"}, {"hat", "帽子"}, {"clock", "钟"},
}

var weekdays = []entry{
	{"Monday", "星期一"}, {"Tuesday", "星期二"}, {"Wednesday", "星期三"}, {"Thursday", "星期四"},
	{"Friday", "星期五"}, {"Saturday", "星期六"}, {"Sunday", "星期日"},
}

var months = []entry{
	{"January", "一月"}, {"February", "二月"}, {"March", "三月"}, {"April", "四月"},
	{"May", "五月"}, {"June", "六月"}, {"July", "七月"}, {"August", "八月"},
	{"September", "九月"}, {"October", "十月"}, {"November", "十一月"}, {"December", "十二月"},
}

var seasonOfMonth = []entry{
	{"winter", "冬天"}, {"winter", "冬天"}, {"spring", "春天"}, {"spring", "春天"},
	{"spring", "春天"}, {"summer", "夏天"}, {"summer", "夏天"}, {"summer", "夏天"},
	{"autumn", "秋天"}, {"autumn", "秋天"}, {"autumn", "秋天"}, {"winter", "冬天"},
}

// verb has the forms that the rewriting questions need: base, third person, past.
type verb struct {
	base, third, past string
	zh                string
	objects           []entry
}

var verbs = []verb{
	{"like", "likes", "liked", "喜欢", []entry{{"tea", "茶"}, {"music", "音乐"}, {"rice", "米饭"}, {"milk", "牛奶"}, {"apples", "苹果"}, {"flowers", "花"}}},
	{"eat", "eats", "ate", "吃", []entry{{"an apple", "苹果"}, {"rice", "米饭"}, {"bread", "面包"}, {"an egg", "鸡蛋"}, {"a banana", "香蕉"}}},
	{"drink", "drinks", "drank", "喝", []entry{{"tea", "茶"}, {"milk", "牛奶"}, {"water", "水"}, {"coffee", "咖啡"}}},
	{"buy", "buys", "bought", "买", []entry{{"a book", "书"}, {"a pen", "笔"}, {"a hat", "帽子"}, {"bread", "面包"}, {"flowers", "花"}, {"a car", "汽车"}}},
	{"see", "sees", "saw", "看见", []entry{{"a dog", "狗"}, {"a cat", "猫"}, {"the moon", "月亮"}, {"the sea", "大海"}, {"a train", "火车"}}},
	{"write", "writes", "wrote", "写", []entry{{"a letter", "信"}, {"a book", "书"}, {"a song", "歌"}}},
	{"read", "reads", "read", "读", []entry{{"a book", "书"}, {"a letter", "信"}}},
	{"draw", "draws", "drew", "画", []entry{{"a flower", "花"}, {"a tree", "树"}, {"a cat", "猫"}, {"the sun", "太阳"}}},
	{"find", "finds", "found", "找到", []entry{{"a shoe", "鞋"}, {"money", "钱"}, {"a bag", "包"}, {"a star", "星星"}}},
}

var (
	cities = []entry{{"Paris", "巴黎"}, {"London", "伦敦"}, {"Beijing", "北京"}, {"Tokyo", "东京"}, {"Rome", "罗马"}, {"Berlin", "柏林"}, {"Cairo", "开罗"}, {"Moscow", "莫斯科"}}
	jobs   = []entry{{"teacher", "老师"}, {"doctor", "医生"}, {"student", "学生"}, {"driver", "司机"}, {"cook", "厨师"}, {"farmer", "农民"}, {"singer", "歌手"}, {"painter", "画家"}}
)

// article returns the English indefinite article with its noun ("an apple").
func article(noun string) string {
	switch noun[0] {
	case 'a', 'e', 'i', 'o', 'u':
		return "an " + noun
	}
	return "a " + noun
}

// uncountable names are used without an article in the questions about things.
var uncountable = map[string]bool{"milk": true, "coffee": true, "cola": true, "snow": true, "grass": true, "spinach": true}
